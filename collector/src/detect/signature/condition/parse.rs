//! Tokens into a condition, by recursive descent with a bounded depth.
//!
//! ```text
//! any     = all { ("or" | "||") all }
//! all     = one { ("and" | "&&") one }
//! one     = ("not" | "!") one | "(" any ")" | test
//! test    = field [ compare value | ["not"] "in" (list | value) | ("contains"|"startswith"|"endswith") text ]
//! list    = "[" value { "," value } "]"
//! ```

use super::field::{Field, FlowField, Kind};
use super::lex::{Placed, Token, tokens};
use super::{Check, Compare, Condition, ConditionError, Node, Test};
use crate::prefix::Prefix;
use weir_common::config::nearest;

/// Longest condition, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of parentheses and negations.
const DEPTH_MAX: usize = 32;
/// Most tests and connectives of one condition.
const NODES_MAX: usize = 512;

const KEYWORDS: &[&str] = &["and", "or", "not", "in", "contains", "startswith", "endswith"];

/// Reads a condition.
pub(super) fn parse(text: &str) -> Result<Condition, ConditionError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ConditionError::at(
            text,
            TEXT_BYTES_MAX,
            format!("a condition has at most {TEXT_BYTES_MAX} bytes"),
        ));
    }
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, depth: 0, nodes: Vec::new() };
    let root = parser.any()?;
    match parser.peek() {
        Token::End => Ok(Condition { nodes: parser.nodes, root }),
        _ => Err(parser.wrong("expected `and`, `or` or the end of the condition")),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
    nodes: Vec<Node>,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<u16, ConditionError> {
        let mut left = self.all()?;
        while self.accept("or") || self.accept("||") {
            let right = self.all()?;
            left = self.node(Node::Or(left, right))?;
        }
        Ok(left)
    }

    fn all(&mut self) -> Result<u16, ConditionError> {
        let mut left = self.one()?;
        while self.accept("and") || self.accept("&&") {
            let right = self.one()?;
            left = self.node(Node::And(left, right))?;
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<u16, ConditionError> {
        if self.depth >= DEPTH_MAX {
            return Err(self.wrong(&format!("nested more than {DEPTH_MAX} deep")));
        }
        self.depth += 1;
        let node = if self.accept("not") || self.accept("!") {
            let inner = self.one()?;
            self.node(Node::Not(inner))
        } else if self.accept("(") {
            let inner = self.any()?;
            if !self.accept(")") {
                return Err(self.wrong("expected `)`"));
            }
            Ok(inner)
        } else {
            let test = self.test()?;
            self.node(Node::Test(test))
        };
        self.depth -= 1;
        node
    }

    fn test(&mut self) -> Result<Test, ConditionError> {
        let Token::Word(name) = self.peek().clone() else {
            return Err(self.wrong("expected a field such as src_ip, `not` or `(`"));
        };
        if KEYWORDS.contains(&name.as_str()) {
            return Err(self.wrong(&format!("expected a field before `{name}`")));
        }
        let field = Field::from_name(&name).ok_or_else(|| {
            let known: Vec<&str> = Field::names().collect();
            let hint =
                nearest(&name, &known).map(|best| format!("; did you mean `{best}`?")).unwrap_or_default();
            self.wrong(&format!("there is no field `{name}`{hint}"))
        })?;
        self.at += 1;
        let (negated, check) = self.check(field)?;
        Ok(Test { field, negated, check })
    }

    fn check(&mut self, field: Field) -> Result<(bool, Check), ConditionError> {
        for (sign, compare, negated) in [
            ("==", Compare::Equal, false),
            ("=", Compare::Equal, false),
            ("!=", Compare::Equal, true),
            ("<=", Compare::AtMost, false),
            (">=", Compare::AtLeast, false),
            ("<", Compare::Below, false),
            (">", Compare::Above, false),
        ] {
            if self.accept(sign) {
                return Ok((negated, self.compare(field, compare)?));
            }
        }
        if self.accept("in") {
            return Ok((false, self.among(field)?));
        }
        if matches!(self.peek(), Token::Word(word) if word == "not") {
            if !matches!(self.tokens.get(self.at + 1), Some((Token::Word(word), _)) if word == "in") {
                return Err(self.wrong("expected `in` after `not`"));
            }
            self.at += 2;
            return Ok((true, self.among(field)?));
        }
        let text_check: Option<fn(Box<str>) -> Check> = match self.peek() {
            Token::Word(word) if word == "contains" => Some(Check::Contains),
            Token::Word(word) if word == "startswith" => Some(Check::StartsWith),
            Token::Word(word) if word == "endswith" => Some(Check::EndsWith),
            _ => None,
        };
        let Some(text_check) = text_check else { return Ok((false, Check::Present)) };
        if field.kind() != Kind::Text {
            return Err(
                self.wrong(&format!("this field is {}, and only texts are searched", field.kind().name()))
            );
        }
        self.at += 1;
        let text = self.text_value()?;
        Ok((false, text_check(text.to_ascii_lowercase().into())))
    }

    fn compare(&mut self, field: Field, compare: Compare) -> Result<Check, ConditionError> {
        match field.kind() {
            Kind::Number => {
                let (first, last) = self.number_value(field)?;
                if first != last {
                    self.at -= 1;
                    return Err(self.wrong("a range is compared with `in`"));
                }
                Ok(Check::Number(compare, first))
            }
            _ if compare != Compare::Equal => {
                self.at -= 1;
                Err(self.wrong(&format!("this field is {}, which has no order", field.kind().name())))
            }
            Kind::Text => Ok(Check::Texts([self.text_value()?].into())),
            Kind::Address => Ok(Check::Networks([self.network_value()?].into_iter().collect())),
            Kind::Flag => Err(self.wrong("this field is yes or no: write it alone, or `not` before it")),
        }
    }

    fn among(&mut self, field: Field) -> Result<Check, ConditionError> {
        let (mut numbers, mut texts, mut networks) = (Vec::new(), Vec::new(), Vec::new());
        let close = if self.accept("[") {
            Some("]")
        } else if self.accept("(") {
            Some(")")
        } else {
            None
        };
        loop {
            match field.kind() {
                Kind::Number => numbers.push(self.number_value(field)?),
                Kind::Text => texts.push(self.text_value()?),
                Kind::Address => networks.push(self.network_value()?),
                Kind::Flag => {
                    return Err(self.wrong("this field is yes or no: write it alone, or `not` before it"));
                }
            }
            match close {
                None => break,
                Some(close) if self.accept(close) => break,
                Some(_) if self.accept(",") => {}
                Some(close) => return Err(self.wrong(&format!("expected `,` or `{close}`"))),
            }
        }
        Ok(match field.kind() {
            Kind::Number => Check::Numbers(numbers.into()),
            Kind::Text => Check::Texts(texts.into()),
            _ => Check::Networks(networks.into_iter().collect()),
        })
    }

    fn number_value(&mut self, field: Field) -> Result<(u64, u64), ConditionError> {
        let found = match self.peek() {
            Token::Number(first, last) => (*first, *last),
            Token::Text(name) | Token::Word(name) if field == Field::Flow(FlowField::Protocol) => {
                let number = protocol_number(name);
                let number =
                    number.ok_or_else(|| self.wrong("expected tcp, udp, icmp, icmpv6, sctp or a number"))?;
                (number, number)
            }
            _ => return Err(self.wrong("expected a number such as 443 or 1_000_000")),
        };
        self.at += 1;
        Ok(found)
    }

    fn text_value(&mut self) -> Result<Box<str>, ConditionError> {
        let Token::Text(text) = self.peek() else {
            return Err(self.wrong("expected a text in quotation marks"));
        };
        let text = text.as_str().into();
        self.at += 1;
        Ok(text)
    }

    fn network_value(&mut self) -> Result<Prefix, ConditionError> {
        let found = match self.peek() {
            Token::Network(prefix) => Some(*prefix),
            Token::Text(text) => Some(Prefix::parse(text).map_err(|message| self.wrong(&message))?),
            _ => None,
        };
        let found = found.ok_or_else(|| self.wrong("expected an address or a network such as 10.0.0.0/8"))?;
        self.at += 1;
        Ok(found)
    }

    fn node(&mut self, node: Node) -> Result<u16, ConditionError> {
        if self.nodes.len() >= NODES_MAX {
            return Err(self.wrong(&format!("a condition has at most {NODES_MAX} tests and connectives")));
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as u16)
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn accept(&mut self, wanted: &str) -> bool {
        let here = match self.peek() {
            Token::Word(word) => word == wanted,
            Token::Sign(sign) => *sign == wanted,
            _ => false,
        };
        self.at += usize::from(here);
        here
    }

    fn wrong(&self, message: &str) -> ConditionError {
        let place = self.tokens.get(self.at).map_or(self.text.len(), |(_, place)| *place);
        ConditionError::at(self.text, place, message.to_owned())
    }
}

fn protocol_number(name: &str) -> Option<u64> {
    Some(match name.to_ascii_lowercase().as_str() {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "icmpv6" | "ipv6-icmp" => 58,
        "sctp" => 132,
        _ => return None,
    })
}
