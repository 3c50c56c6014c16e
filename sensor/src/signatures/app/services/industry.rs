//! `modbus`, `dnp3_obj` and `cip_service`.
//!
//! In: their values; then a request's side. Out: whether it is meant. `modbus` has a grammar of its own:
//!
//! ```text
//! unit 10, function 8, subfunction 4     function !reserved     unit 1<>5, access write holding, address 500, value >200
//! ```
//!
//! Addresses count from 1. As in Suricata a range of addresses is meant where the request's overlaps with it, and `<` and
//! `>` leave out the number itself.

use super::shown;
use crate::dpi::buffers::{Buffer, Number, Side, Wanted};

/// A test of one of these keywords.
#[derive(Debug)]
pub(in crate::signatures) enum Test {
    Modbus(Modbus),
    /// Group and variation of an object.
    Dnp3Object(u8, u8),
    CipService(CipService),
}

/// What a Modbus request must be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::signatures) struct Modbus {
    unit: Option<Span>,
    function: Option<u8>,
    subfunction: Option<u16>,
    /// Bits of [`Number::ModbusCategory`], any of which is enough.
    category: Option<u64>,
    access: Option<Access>,
}

/// What a request must read or write.
#[derive(Debug, Default, PartialEq, Eq)]
struct Access {
    /// Bits of [`Number::ModbusAccess`]: read or write, and the table if it matters.
    kind: u64,
    table: u64,
    address: Option<Span>,
    value: Option<Span>,
}

/// Numbers that are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    Exactly(u16),
    Below(u16),
    Above(u16),
    /// Between these, which do not belong to it.
    Between(u16, u16),
}

/// A service of CIP, the class it is asked of, the attribute it is about.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::signatures) struct CipService {
    service: u8,
    class: Option<u32>,
    attribute: Option<u32>,
}

const READ: u64 = 1;
const WRITE: u64 = 2;
const CATEGORIES: [(&str, u64); 6] =
    [("unassigned", 1), ("assigned", 2), ("public", 3), ("user", 4), ("reserved", 8), ("all", 15)];
const TABLES: [(&str, u64); 4] = [("discretes", 4), ("coils", 8), ("input", 16), ("holding", 32)];

/// Reads an option; none: it is none of these keywords.
pub(super) fn option(name: &str, value: Result<&str, String>) -> Option<Result<Test, String>> {
    let read = match name {
        "modbus" => |text: &str| Modbus::parse(text).map(Test::Modbus),
        "dnp3_obj" | "dnp3.obj" => dnp3_object,
        "cip_service" => |text: &str| CipService::parse(text).map(Test::CipService),
        _ => return None,
    };
    Some(value.and_then(read))
}

impl Test {
    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        match self {
            Test::Modbus(test) => test.holds(side),
            Test::Dnp3Object(group, variation) => {
                let wanted = u64::from(u16::from_be_bytes([*group, *variation]));
                side.numbers_of(Number::Dnp3Obj).any(|object| object == wanted)
            }
            Test::CipService(test) => side.values_of(Buffer::EnipCip).any(|value| test.is(value)),
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        match self {
            Test::Modbus(_) => {
                for number in [
                    Number::ModbusUnit,
                    Number::ModbusFunction,
                    Number::ModbusSubfunction,
                    Number::ModbusCategory,
                    Number::ModbusAccess,
                    Number::ModbusFirst,
                    Number::ModbusLast,
                    Number::ModbusWritten,
                ] {
                    wanted.want_number(number);
                }
                wanted.want(Buffer::ModbusValues);
            }
            Test::Dnp3Object(..) => wanted.want_number(Number::Dnp3Obj),
            Test::CipService(_) => wanted.want(Buffer::EnipCip),
        }
    }
}

/// Reads `22,01`.
fn dnp3_object(text: &str) -> Result<Test, String> {
    let byte = |text: &str| {
        let text = text.trim();
        match text.strip_prefix("0x") {
            Some(digits) => u8::from_str_radix(digits, 16).ok(),
            None => text.parse().ok().filter(|_| !text.starts_with('+')),
        }
    };
    let both = text.split_once(',').and_then(|(group, variation)| Some((byte(group)?, byte(variation)?)));
    match both {
        Some((group, variation)) => Ok(Test::Dnp3Object(group, variation)),
        None => Err(format!("`{}` is not a group and a variation such as 22,1", shown(text))),
    }
}

impl CipService {
    /// Reads `12`, `12,123`, `12,123,45678`, `12,123,!45678`.
    fn parse(text: &str) -> Result<CipService, String> {
        let wrong = || format!("`{}` is not a service below 128, a class, an attribute", shown(text));
        let number = |text: &str| {
            let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|_| is_digits)
        };
        let mut parts = text.split(',').map(str::trim);
        let service = parts.next().and_then(number).and_then(|number| u8::try_from(number).ok());
        let service = service.filter(|service| *service < 0x80).ok_or_else(wrong)?;
        let class = parts.next().map(|class| number(class).ok_or_else(wrong)).transpose()?;
        let attribute = match parts.next() {
            None => None,
            // Suricata asks for no attribute here.
            Some(negated) if negated.starts_with('!') => {
                number(negated.trim_start_matches('!')).ok_or_else(wrong)?;
                None
            }
            Some(attribute) => Some(number(attribute).ok_or_else(wrong)?),
        };
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(CipService { service, class, attribute })
    }

    fn is(&self, value: &[u8]) -> bool {
        let Some((service, about)) = value.split_first() else { return false };
        let names = |mark: u8, wanted: Option<u32>| {
            wanted.is_none_or(|wanted| {
                about
                    .as_chunks::<5>()
                    .0
                    .iter()
                    .any(|[kind, number @ ..]| *kind == mark && u32::from_be_bytes(*number) == wanted)
            })
        };
        *service == self.service && names(b'c', self.class) && names(b'a', self.attribute)
    }
}

/// A value's words and commas, one after another.
struct Words<'t>(&'t str);

impl<'t> Words<'t> {
    fn eat(&mut self, word: &str) -> bool {
        let rest = self.0.trim_start().strip_prefix(word);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// The letters that follow.
    fn letters(&mut self) -> &'t str {
        let text = self.0.trim_start();
        let end = text.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        word
    }

    fn number(&mut self) -> Result<u16, String> {
        let text = self.0.trim_start();
        let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        self.0 = rest;
        digits.parse().map_err(|_| format!("expected a number up to 65535, not `{}`", shown(text)))
    }

    fn span(&mut self) -> Result<Span, String> {
        if self.eat("<") {
            return self.number().map(Span::Below);
        }
        if self.eat(">") {
            return self.number().map(Span::Above);
        }
        let from = self.number()?;
        if self.eat("<>") { Ok(Span::Between(from, self.number()?)) } else { Ok(Span::Exactly(from)) }
    }

    fn end(&self) -> Result<(), String> {
        match self.0.trim() {
            "" => Ok(()),
            more => Err(format!("`{}` is not understood", shown(more))),
        }
    }
}

impl Span {
    fn has(self, number: u64) -> bool {
        self.overlaps(number, number)
    }

    fn overlaps(self, first: u64, last: u64) -> bool {
        match self {
            Span::Exactly(number) => (first..=last).contains(&u64::from(number)),
            Span::Below(number) => first < u64::from(number),
            Span::Above(number) => last > u64::from(number),
            Span::Between(from, to) => last > u64::from(from) && first < u64::from(to),
        }
    }
}

impl Modbus {
    fn parse(text: &str) -> Result<Modbus, String> {
        // The whole value may stand in quotes.
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let mut words = Words(bare);
        let mut test = Modbus::default();
        if words.eat("unit") {
            test.unit = Some(words.span()?);
            if !words.eat(",") {
                words.end()?;
                return Ok(test);
            }
        }
        match words.letters() {
            "function" => test.function(&mut words)?,
            "access" => test.access = Some(Access::parse(&mut words)?),
            other => return Err(format!("`{}` is none of `unit`, `function`, `access`", shown(other))),
        }
        words.end()?;
        Ok(test)
    }

    fn function(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        if words.0.trim_start().starts_with(|digit: char| digit.is_ascii_digit()) {
            let number = words.number()?;
            let function = u8::try_from(number).ok().filter(|function| *function > 0);
            self.function = Some(function.ok_or("a function is a number from 1 to 255")?);
            if words.eat(",") {
                if !words.eat("subfunction") {
                    return Err("only `subfunction` may follow a function's number".into());
                }
                self.subfunction = Some(words.number()?);
            }
            return Ok(());
        }
        let is_negated = words.eat("!");
        let word = words.letters();
        let bits = CATEGORIES.iter().find(|(name, _)| *name == word).map(|(_, bits)| *bits);
        let bits = bits.ok_or_else(|| format!("`{}` is no category of functions", shown(word)))?;
        self.category = Some(if is_negated { !bits & 15 } else { bits });
        Ok(())
    }

    fn holds(&self, side: &Side) -> bool {
        let number = |number| side.numbers_of(number).next();
        let Some(function) = number(Number::ModbusFunction) else { return false };
        if self.unit.is_some_and(|unit| !number(Number::ModbusUnit).is_some_and(|number| unit.has(number))) {
            return false;
        }
        if let Some(access) = &self.access {
            return access.holds(side);
        }
        if let Some(bits) = self.category {
            return number(Number::ModbusCategory).is_some_and(|category| category & bits != 0);
        }
        let is_sub = self.subfunction.is_none_or(|sub| number(Number::ModbusSubfunction) == Some(sub.into()));
        self.function.is_none_or(|wanted| u64::from(wanted) == function) && is_sub
    }
}

impl Access {
    fn parse(words: &mut Words<'_>) -> Result<Access, String> {
        let kind = match words.letters() {
            "read" => READ,
            "write" => WRITE,
            other => return Err(format!("`{}` is neither `read` nor `write`", shown(other))),
        };
        let word = words.letters();
        let table = TABLES.iter().find(|(name, _)| *name == word).map(|(_, bit)| *bit);
        let table = match (word, table) {
            ("", _) => 0,
            (_, Some(bit)) => bit,
            _ => return Err(format!("`{}` is no table of Modbus", shown(word))),
        };
        if kind == WRITE && matches!(word, "discretes" | "input") {
            return Err(format!("`{word}` can only be read"));
        }
        let mut access = Access { kind, table, address: None, value: None };
        if !words.eat(",") {
            return Ok(access);
        }
        if !words.eat("address") {
            return Err("only `address` may follow what is accessed".into());
        }
        let address = words.span()?;
        access.address = Some(address);
        if !words.eat(",") {
            return Ok(access);
        }
        if !words.eat("value") {
            return Err("only `value` may follow an address".into());
        }
        if kind == READ || !matches!(address, Span::Exactly(_)) {
            return Err("a value is only of one address that is written".into());
        }
        access.value = Some(words.span()?);
        Ok(access)
    }

    fn holds(&self, side: &Side) -> bool {
        let number = |number| side.numbers_of(number).next();
        let Some(found) = number(Number::ModbusAccess) else { return false };
        if found & self.kind == 0 || self.table != 0 && found & self.table == 0 {
            return false;
        }
        let Some(address) = self.address else { return true };
        let range = number(Number::ModbusFirst).zip(number(Number::ModbusLast));
        if !range.is_some_and(|(first, last)| address.overlaps(first, last)) {
            return false;
        }
        let (Some(value), Span::Exactly(place)) = (self.value, address) else { return true };
        let written = || {
            let at = u64::from(place).checked_sub(number(Number::ModbusWritten)?)?;
            let values = side.values_of(Buffer::ModbusValues).next()?.as_chunks::<2>().0;
            values.get(usize::try_from(at).ok()?).map(|value| u16::from_be_bytes(*value))
        };
        written().is_some_and(|written| value.has(written.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{holds, read};
    use super::*;

    /// Unit 10 is asked to write 7 and 300 into the holding registers 500 and 501.
    const WRITING: [(Number, u64); 7] = [
        (Number::ModbusUnit, 10),
        (Number::ModbusFunction, 16),
        (Number::ModbusCategory, 2),
        (Number::ModbusAccess, 34),
        (Number::ModbusFirst, 500),
        (Number::ModbusLast, 501),
        (Number::ModbusWritten, 500),
    ];

    #[test]
    fn modbus_asks_for_units_functions_and_what_is_accessed() {
        for (ask, expected) in [
            ("modbus: unit 10", true),
            ("modbus: unit 11", false),
            ("modbus: unit >9, access write", true),
            ("modbus: unit 9<>11, function 16", true),
            ("modbus: unit <10", false),
            ("modbus: function 16", true),
            ("modbus: function 16, subfunction 4", false),
            ("modbus:function assigned", true),
            ("modbus: function public", true),
            ("modbus: function !assigned", false),
            ("modbus: function !reserved", true),
            ("modbus: function all", true),
            ("modbus: function user", false),
            ("modbus: access read", false),
            ("modbus: access write holding", true),
            ("modbus: access write coils", false),
            ("modbus: access write holding, address 501", true),
            ("modbus: access write holding, address 502", false),
            ("modbus: access write holding, address <500", false),
            ("modbus: access write holding, address <501", true),
            ("modbus: access write holding, address >500", true),
            ("modbus: access write holding, address >501", false),
            ("modbus: access write holding, address 500<>502", true),
            ("modbus: access write holding, address 501<>502", false),
            ("modbus: access write holding, address 500, value 7", true),
            ("modbus: access write holding, address 501, value >200", true),
            ("modbus: access write holding, address 501, value 7", false),
            ("modbus: \"access write holding, address 501, value 200<>400\"", true),
        ] {
            assert_eq!(holds(ask, &[(Buffer::ModbusValues, &[0, 7, 1, 44])], &WRITING), expected, "{ask}");
        }
        assert!(!holds("modbus: function 16", &[], &[]));
    }

    #[test]
    fn objects_and_services_are_found_by_their_numbers() {
        let object = [(Number::Dnp3Obj, 22 << 8 | 1)];
        assert!(holds("dnp3_obj:22,01", &[], &object) && holds("dnp3.obj:0x16, 1", &[], &object));
        assert!(!holds("dnp3_obj:22,2", &[], &object));
        let told = [&[14, b'c'][..], &1u32.to_be_bytes(), b"a", &7u32.to_be_bytes()].concat();
        for (ask, expected) in [
            ("cip_service:14", true),
            ("cip_service:14 , 1", true),
            ("cip_service:14,1,7", true),
            ("cip_service:14,1,!7", true),
            ("cip_service:14,7", false),
            ("cip_service:14,1,8", false),
            ("cip_service:15", false),
        ] {
            assert_eq!(holds(ask, &[(Buffer::EnipCip, &told)], &[]), expected, "{ask}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_in_words() {
        for wrong in [
            "modbus",
            "modbus: unit",
            "modbus: unit 1,",
            "modbus: unit 70000",
            "modbus: function 0",
            "modbus: function 256",
            "modbus: function odd",
            "modbus: function 8, sub 4",
            "modbus: access",
            "modbus: access read rivers",
            "modbus: access write input",
            "modbus: access read coils, address 1, value 1",
            "modbus: access write coils, address <5, value 1",
            "modbus: access write coils, address 5 6",
            "modbus: speed 3",
            "dnp3_obj:22",
            "dnp3_obj:22,256",
            "dnp3_obj:22,+1",
            "cip_service:128",
            "cip_service:1,x",
            "cip_service:1,2,3,4",
            "cip_service:",
        ] {
            assert!(matches!(read(wrong), Some(Err(_))), "{wrong}");
        }
    }
}
