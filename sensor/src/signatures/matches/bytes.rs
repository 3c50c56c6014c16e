//! Numbers in a buffer: `byte_test`, `byte_jump`, `byte_extract` and `byte_math`.
//!
//! In: the option; later a buffer, where the match before ended, and the numbers read so far. Out: whether it holds,
//! a new position, a number. All of them take some bytes at an offset, as binary or as digits.

use super::reader::{Operand, named, operand, parts, refused, strtoull, text, unknown, whole_number, wrong};
use super::{Names, Refused, Slot, Values};
use weir_common::rule::RuleOption;

/// Most digits of a number, as in Suricata: 64 bits in octal, with the leading zero.
const DIGITS_MAX: i32 = 23;
/// Most bytes of a binary number.
const BINARY_BYTES_MAX: i32 = 8;
/// Largest offset of a number in all but `byte_test`, in bytes, as in Suricata; a rule with more is refused.
const OFFSET_MAX: i32 = 65535;

/// Which bytes make the number, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bytes: Operand,
    offset: Operand,
    is_relative: bool,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Big,
    Little,
    /// As the DCE/RPC header says; the flag is what it means where there is none.
    Dce {
        is_little_by_default: bool,
    },
    /// Digits; base 0 is told by their prefix.
    Digits(u32),
}

/// Where a number was found, and how many bytes it took.
struct Read {
    number: u64,
    begin: usize,
    length: usize,
}

impl Field {
    fn read(&self, buffer: &[u8], at: u32, is_little: Option<bool>, values: &Values) -> Option<Read> {
        if buffer.is_empty() {
            return None;
        }
        let base = if self.is_relative { i64::from(at) } else { 0 };
        let offset = match self.offset {
            Operand::Fixed(offset) => i64::from(offset),
            // Suricata keeps 32 bits of it.
            Operand::Named(slot) => i64::from(values.get(slot) as i32),
        };
        let begin = usize::try_from(base.saturating_add(offset)).ok()?;
        let count = values.of(self.bytes) as i32;
        let most = if matches!(self.form, Form::Digits(_)) { DIGITS_MAX } else { BINARY_BYTES_MAX };
        if count > most || (self.is_relative && begin >= buffer.len()) {
            return None;
        }
        let count = usize::try_from(count).ok()?;
        let bytes = buffer.get(begin..begin.checked_add(count)?)?;
        let (number, length) = match self.form {
            Form::Digits(base) => strtoull(bytes, base)?,
            Form::Big => (big(bytes), count),
            Form::Little => (little(bytes), count),
            Form::Dce { is_little_by_default } => {
                let is_little = is_little.unwrap_or(is_little_by_default);
                (if is_little { little(bytes) } else { big(bytes) }, count)
            }
        };
        Some(Read { number, begin, length })
    }

    /// Refuses more bytes than a number has.
    fn check(self, option: &RuleOption, digits_max: i32) -> Result<Field, Refused> {
        let most = if matches!(self.form, Form::Digits(_)) { digits_max } else { BINARY_BYTES_MAX };
        match self.bytes {
            Operand::Fixed(bytes) if bytes > most => {
                Err(refused(option, &format!("a number of more than {most} bytes")))
            }
            _ => Ok(self),
        }
    }
}

fn big(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Collects the words that say how a number is written.
#[derive(Default)]
struct FormWords {
    is_string: bool,
    base: Option<u32>,
    is_little: Option<bool>,
    is_dce: bool,
}

impl FormWords {
    /// Whether the word is one of them.
    fn take(&mut self, word: &str) -> bool {
        match word.to_ascii_lowercase().as_str() {
            "string" => self.is_string = true,
            "dec" => self.base = Some(10),
            "hex" => self.base = Some(16),
            "oct" => self.base = Some(8),
            "big" => self.is_little = Some(false),
            "little" => self.is_little = Some(true),
            "dce" => self.is_dce = true,
            _ => return false,
        }
        true
    }

    fn form(&self, option: &RuleOption, default_base: u32, is_dce_little: bool) -> Result<Form, Refused> {
        if self.base.is_some() && !self.is_string {
            return Err(refused(option, "a base without `string`"));
        }
        if self.is_dce && (self.is_string || self.is_little.is_some()) {
            return Err(refused(option, "`dce` says the order of bytes already"));
        }
        Ok(match self {
            FormWords { is_dce: true, .. } => Form::Dce { is_little_by_default: is_dce_little },
            FormWords { is_string: true, base, .. } => Form::Digits(base.unwrap_or(default_base)),
            FormWords { is_little: Some(true), .. } => Form::Little,
            _ => Form::Big,
        })
    }
}

/// Bits that are taken out of a number, and moved down to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bits(u32);

impl Bits {
    fn of(self, number: u64) -> u64 {
        let shift = if self.0 == 0 { 0 } else { self.0.trailing_zeros() };
        (number & u64::from(self.0)) >> shift
    }
}

/// Reads `bitmask 0xf0`, if the word is one.
fn bitmask(option: &RuleOption, word: &str) -> Result<Option<Bits>, Refused> {
    let Some((_, mask)) = word.split_at_checked(7).filter(|(name, _)| name.eq_ignore_ascii_case("bitmask"))
    else {
        return Ok(None);
    };
    let mask = whole_number(mask.trim()).and_then(|mask| u32::try_from(mask).ok());
    mask.map(|mask| Some(Bits(mask))).ok_or_else(|| wrong(option, "a number of 32 bits behind `bitmask`"))
}

/// `byte_test`: compares a number with another.
#[derive(Debug)]
pub(super) struct ByteTest {
    field: Field,
    bits: Option<Bits>,
    operator: Operator,
    is_negated: bool,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Fixed(u64),
    Named(Slot),
}

impl Value {
    fn of(self, values: &Values) -> u64 {
        match self {
            Value::Fixed(number) => number,
            Value::Named(slot) => values.get(slot),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Below,
    Above,
    AtMost,
    AtLeast,
    /// They share a bit.
    And,
    /// They differ in a bit.
    Xor,
}

impl ByteTest {
    /// Reads `4, !>, 0x10, 2, relative, little`.
    pub(super) fn parse(option: &RuleOption, names: &Names) -> Result<ByteTest, Refused> {
        let text = text(option);
        let words: Vec<&str> = parts(&text).collect();
        let expected = "bytes, an operator, a value, an offset, and what else there is";
        let [bytes, operator_word, value, offset, rest @ ..] = words.as_slice() else {
            return Err(wrong(option, expected));
        };
        let plain = operator_word.strip_prefix('!').map(str::trim);
        let operator = match plain {
            Some("") => Some(Operator::Equal),
            _ => operator(plain.unwrap_or(operator_word)),
        };
        let Some(operator) = operator else {
            return Err(wrong(
                option,
                "one of the operators `=`, `<`, `>`, `<=`, `>=`, `&`, `^`, with or without `!`",
            ));
        };
        let value = if value.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            Value::Named(named(option, value, names)?)
        } else {
            Value::Fixed(whole_number(value).ok_or_else(|| wrong(option, "a number or a name as value"))?)
        };
        let offset = operand(option, offset, -i32::MAX..=i32::MAX, names)?;
        let (mut form, mut is_relative, mut bits) = (FormWords::default(), false, None);
        for word in rest {
            if *word == "relative" {
                is_relative = true;
            } else if let Some(mask) = bitmask(option, word)? {
                bits = Some(mask);
            } else if !form.take(word) {
                return Err(unknown(option, word));
            }
        }
        let form = form.form(option, 0, false)?;
        let bytes = operand(option, bytes, 0..=DIGITS_MAX, names)?;
        let field = Field { bytes, offset, is_relative, form }.check(option, DIGITS_MAX)?;
        Ok(ByteTest { field, bits, operator, is_negated: plain.is_some(), value })
    }

    pub(super) fn is_relative(&self) -> bool {
        self.field.is_relative
    }

    pub(super) fn holds(&self, buffer: &[u8], at: u32, is_little: Option<bool>, values: &Values) -> bool {
        let Some(read) = self.field.read(buffer, at, is_little, values) else { return false };
        let number = self.bits.map_or(read.number, |bits| bits.of(read.number));
        let value = self.value.of(values);
        let holds = match self.operator {
            Operator::Equal => number == value,
            Operator::Below => number < value,
            Operator::Above => number > value,
            Operator::AtMost => number <= value,
            Operator::AtLeast => number >= value,
            Operator::And => number & value != 0,
            Operator::Xor => number ^ value != 0,
        };
        holds != self.is_negated
    }
}

fn operator(word: &str) -> Option<Operator> {
    Some(match word.trim() {
        "=" => Operator::Equal,
        "<" => Operator::Below,
        ">" => Operator::Above,
        "<=" => Operator::AtMost,
        ">=" => Operator::AtLeast,
        "&" => Operator::And,
        "^" => Operator::Xor,
        _ => return None,
    })
}

/// `byte_jump`: the matches that follow go on where a number says.
#[derive(Debug)]
pub(super) struct ByteJump {
    field: Field,
    bits: Option<Bits>,
    multiplier: u64,
    is_aligned: bool,
    from: JumpFrom,
    post_offset: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JumpFrom {
    /// The end of the number.
    Number,
    Beginning,
    End,
}

impl ByteJump {
    /// Reads `4, 12, relative, little, multiplier 2, post_offset -4`.
    pub(super) fn parse(option: &RuleOption, names: &Names) -> Result<ByteJump, Refused> {
        let value = text(option);
        let words: Vec<&str> = parts(&value).collect();
        let [bytes, offset, rest @ ..] = words.as_slice() else {
            return Err(wrong(option, "bytes, an offset, and what else there is"));
        };
        let (mut form, mut is_relative, mut is_aligned) = (FormWords::default(), false, false);
        let (mut multiplier, mut post_offset, mut from) = (1, 0, JumpFrom::Number);
        let mut bits = None;
        for word in rest {
            if let Some(mask) = bitmask(option, word)? {
                bits = Some(mask);
                continue;
            }
            let (name, number) = word.split_once(char::is_whitespace).unwrap_or((word, ""));
            let number = number.trim();
            match name.to_ascii_lowercase().as_str() {
                "relative" => is_relative = true,
                "align" => is_aligned = true,
                "from_beginning" | "from_end" if from != JumpFrom::Number => {
                    return Err(refused(option, "the jump begins at one place"));
                }
                "from_beginning" => from = JumpFrom::Beginning,
                "from_end" => from = JumpFrom::End,
                "multiplier" => {
                    let read = number.parse::<u16>().ok().filter(|number| *number > 0);
                    multiplier =
                        u64::from(read.ok_or_else(|| wrong(option, "a multiplier from 1 to 65535"))?);
                }
                "post_offset" => {
                    let read = number
                        .parse::<i32>()
                        .ok()
                        .filter(|number| (-OFFSET_MAX..=OFFSET_MAX).contains(number));
                    post_offset = read.ok_or_else(|| wrong(option, "a post_offset from -65535 to 65535"))?;
                }
                _ if form.take(word) => {}
                _ => return Err(unknown(option, word)),
            }
        }
        if form.is_dce && from != JumpFrom::Number {
            return Err(refused(option, "`dce` jumps from the number"));
        }
        let form = form.form(option, 0, false)?;
        let bytes = operand(option, bytes, 0..=DIGITS_MAX, names)?;
        let offset = operand(option, offset, -OFFSET_MAX..=OFFSET_MAX, names)?;
        let field = Field { bytes, offset, is_relative, form }.check(option, DIGITS_MAX)?;
        Ok(ByteJump { field, bits, multiplier, is_aligned, from, post_offset })
    }

    pub(super) fn is_relative(&self) -> bool {
        self.field.is_relative
    }

    /// Where the matches that follow go on.
    pub(super) fn jump(
        &self,
        buffer: &[u8],
        at: u32,
        is_little: Option<bool>,
        values: &Values,
    ) -> Option<u32> {
        let read = self.field.read(buffer, at, is_little, values)?;
        let number = self.bits.map_or(read.number, |bits| bits.of(read.number));
        let mut jump = number.wrapping_mul(self.multiplier);
        if self.is_aligned {
            jump = jump.wrapping_add((4 - jump % 4) % 4);
        }
        let jump = jump.wrapping_add_signed(i64::from(self.post_offset)) as i64;
        let from = match self.from {
            JumpFrom::Beginning => 0,
            JumpFrom::End => buffer.len(),
            JumpFrom::Number => read.begin.saturating_add(read.length),
        };
        // Before the beginning means the beginning; beyond the end means that it does not hold.
        let to = usize::try_from((from as i64).saturating_add(jump)).unwrap_or(0);
        if to < buffer.len() { u32::try_from(to).ok() } else { None }
    }
}

/// `byte_extract`: gives a number a name.
#[derive(Debug)]
pub(super) struct ByteExtract {
    field: Field,
    slot: Slot,
    multiplier: u64,
    align: u64,
}

impl ByteExtract {
    /// Reads `2, 0, length, relative, little, multiplier 4, align 4`.
    pub(super) fn parse(option: &RuleOption, names: &mut Names) -> Result<ByteExtract, Refused> {
        let value = text(option);
        let words: Vec<&str> = parts(&value).collect();
        let [bytes, offset, name, rest @ ..] = words.as_slice() else {
            return Err(wrong(option, "bytes, an offset, a name, and what else there is"));
        };
        let (mut form, mut is_relative, mut multiplier, mut align) = (FormWords::default(), false, 1, 1);
        for word in rest {
            let (kind, number) = word.split_once(char::is_whitespace).unwrap_or((word, ""));
            let number = number.trim();
            match kind {
                "relative" => is_relative = true,
                "multiplier" => {
                    let read = number.parse::<u16>().ok().filter(|number| *number > 0);
                    multiplier =
                        u64::from(read.ok_or_else(|| wrong(option, "a multiplier from 1 to 65535"))?);
                }
                "align" => {
                    let read = number.parse::<u64>().ok().filter(|number| matches!(number, 2 | 4));
                    align = read.ok_or_else(|| wrong(option, "`align 2` or `align 4`"))?;
                }
                _ if form.take(word) => {}
                _ => return Err(unknown(option, word)),
            }
        }
        if form.is_string && form.is_little.is_some() {
            return Err(refused(option, "digits have no order of bytes"));
        }
        let form = form.form(option, 10, true)?;
        // As many digits as surely fit 64 bits, as in Suricata.
        let digits_max = match form {
            Form::Digits(16) => 14,
            Form::Digits(10) => 20,
            _ => DIGITS_MAX,
        };
        let bytes = match operand(option, bytes, 0..=DIGITS_MAX, names)? {
            Operand::Fixed(bytes) => Operand::Fixed(bytes),
            Operand::Named(_) => return Err(wrong(option, "a number of bytes")),
        };
        let offset = match operand(option, offset, -OFFSET_MAX..=OFFSET_MAX, names)? {
            Operand::Fixed(offset) => Operand::Fixed(offset),
            Operand::Named(_) => return Err(wrong(option, "a number as offset")),
        };
        let field = Field { bytes, offset, is_relative, form }.check(option, digits_max)?;
        let slot = names.define(option, name)?;
        Ok(ByteExtract { field, slot, multiplier, align })
    }

    pub(super) fn is_relative(&self) -> bool {
        self.field.is_relative
    }

    /// Keeps the number, and says where it ends.
    pub(super) fn extract(
        &self,
        buffer: &[u8],
        at: u32,
        is_little: Option<bool>,
        values: &mut Values,
    ) -> Option<u32> {
        let read = self.field.read(buffer, at, is_little, values)?;
        let number = read.number.wrapping_mul(self.multiplier);
        let number = number.wrapping_add((self.align - number % self.align) % self.align);
        values.set(self.slot, number);
        u32::try_from(read.begin.saturating_add(read.length)).ok()
    }
}

/// `byte_math`: calculates with a number and gives the result a name.
#[derive(Debug)]
pub(super) struct ByteMath {
    field: Field,
    bits: Option<Bits>,
    operation: Operation,
    value: Value,
    slot: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    ShiftLeft,
    ShiftRight,
}

impl ByteMath {
    /// Reads `bytes 4, offset 0, oper +, rvalue 10, result sum, relative`.
    pub(super) fn parse(option: &RuleOption, names: &mut Names) -> Result<ByteMath, Refused> {
        let value = text(option);
        let (mut bytes, mut offset, mut operation, mut rvalue, mut result) = (None, None, None, None, None);
        let (mut form, mut is_relative, mut bits) = (FormWords::default(), false, None);
        for word in parts(&value) {
            let (name, value) = word.split_once(char::is_whitespace).unwrap_or((word, ""));
            let value = value.trim();
            let is_first = match name {
                "bytes" => bytes.replace(operand(option, value, 1..=10, names)?).is_none(),
                "offset" => {
                    let read = value
                        .parse::<i32>()
                        .ok()
                        .filter(|number| (-OFFSET_MAX..=OFFSET_MAX).contains(number));
                    offset
                        .replace(read.ok_or_else(|| wrong(option, "an offset from -65535 to 65535"))?)
                        .is_none()
                }
                "oper" => operation.replace(self::operation(option, value)?).is_none(),
                "rvalue" => {
                    let read = match value.parse::<u64>() {
                        Ok(number) if number <= u64::from(u32::MAX) => Value::Fixed(number),
                        Ok(_) => return Err(wrong(option, "an rvalue of 32 bits")),
                        Err(_) => Value::Named(named(option, value, names)?),
                    };
                    rvalue.replace(read).is_none()
                }
                "result" => result.replace(value.to_owned()).is_none(),
                "bitmask" => {
                    let digits = value.trim_start_matches("0x").trim_start_matches("0X");
                    let mask = u32::from_str_radix(digits, 16).ok();
                    let mask = Bits(mask.ok_or_else(|| wrong(option, "a hexadecimal number of 32 bits"))?);
                    bits.replace(mask).is_none()
                }
                "relative" => !std::mem::replace(&mut is_relative, true),
                "dce" => form.take("dce"),
                "endian" => matches!(value, "big" | "little" | "dce") && form.take(value),
                "string" => matches!(value, "dec" | "hex" | "oct") && form.take("string") && form.take(value),
                _ => false,
            };
            if !is_first {
                return Err(unknown(option, word));
            }
        }
        let missing = || wrong(option, "`bytes`, `offset`, `oper`, `rvalue` and `result`");
        let operation = operation.ok_or_else(missing)?;
        let bytes = bytes.ok_or_else(missing)?;
        let is_shift = matches!(operation, Operation::ShiftLeft | Operation::ShiftRight);
        if is_shift && matches!(bytes, Operand::Fixed(bytes) if bytes > 4) {
            return Err(refused(option, "more than 4 bytes cannot be shifted"));
        }
        let form = form.form(option, 10, true)?;
        let offset = Operand::Fixed(offset.ok_or_else(missing)?);
        let field = Field { bytes, offset, is_relative, form };
        let value = rvalue.ok_or_else(missing)?;
        let slot = names.define(option, &result.ok_or_else(missing)?)?;
        Ok(ByteMath { field, bits, operation, value, slot })
    }

    pub(super) fn is_relative(&self) -> bool {
        self.field.is_relative
    }

    /// Keeps the result, and says where the number ends. A division by zero does not hold.
    pub(super) fn calculate(
        &self,
        buffer: &[u8],
        at: u32,
        is_little: Option<bool>,
        values: &mut Values,
    ) -> Option<u32> {
        let read = self.field.read(buffer, at, is_little, values)?;
        let (left, right) = (read.number, self.value.of(values));
        let shift = u32::try_from(right).unwrap_or(u32::MAX);
        let number = match self.operation {
            Operation::Add => left.wrapping_add(right),
            Operation::Subtract => left.wrapping_sub(right),
            Operation::Multiply => left.wrapping_mul(right),
            Operation::Divide => left.checked_div(right)?,
            Operation::ShiftLeft => left.checked_shl(shift).unwrap_or(0),
            Operation::ShiftRight => left.checked_shr(shift).unwrap_or(0),
        };
        values.set(self.slot, self.bits.map_or(number, |bits| bits.of(number)));
        u32::try_from(read.begin.saturating_add(read.length)).ok()
    }
}

fn operation(option: &RuleOption, word: &str) -> Result<Operation, Refused> {
    Ok(match word {
        "+" => Operation::Add,
        "-" => Operation::Subtract,
        "*" => Operation::Multiply,
        "/" => Operation::Divide,
        "<<" => Operation::ShiftLeft,
        ">>" => Operation::ShiftRight,
        _ => return Err(wrong(option, "one of the operators `+`, `-`, `*`, `/`, `<<` and `>>`")),
    })
}
