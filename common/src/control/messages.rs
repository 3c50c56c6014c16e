//! The messages of the control connection, as `control.proto` beside this file describes them.
//!
//! In and out: protobuf. The types are written by hand, with prost's derives, so that no build needs a compiler of
//! protobuf; a test below reads the description and finds every field with its number and type here.

use std::collections::BTreeMap;

/// What a sensor without a certificate asks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RedeemRequest {
    /// Of the token.
    #[prost(bytes = "vec", tag = "1")]
    pub secret: Vec<u8>,
    /// PKCS #10; the sensor's key never leaves it.
    #[prost(string, tag = "2")]
    pub csr_pem: String,
    /// The sensor's clock, nanoseconds since 1970.
    #[prost(fixed64, tag = "3")]
    pub clock_ns: u64,
    /// Of the sensor's program.
    #[prost(string, tag = "4")]
    pub version: String,
}

/// Its certificate.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RedeemReply {
    /// The sensor's certificate and those up to the authority's.
    #[prost(string, tag = "1")]
    pub chain_pem: String,
    /// What the sensor trusts from now on.
    #[prost(string, tag = "2")]
    pub authority_pem: String,
    /// The name that the token was made for.
    #[prost(string, tag = "3")]
    pub sensor: String,
    /// The collector's clock, nanoseconds since 1970.
    #[prost(fixed64, tag = "4")]
    pub clock_ns: u64,
}

/// One message of the stream; none: a kind that this version does not know.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FromSensor {
    #[allow(missing_docs)]
    #[prost(oneof = "FromSensorMessage", tags = "1, 2, 3, 4, 5, 6")]
    pub message: Option<FromSensorMessage>,
}

/// What a [`FromSensor`] is.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)]
pub enum FromSensorMessage {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Health(Health),
    #[prost(message, tag = "3")]
    EvidencePart(EvidencePart),
    #[prost(message, tag = "4")]
    EvidenceEnd(EvidenceEnd),
    #[prost(message, tag = "5")]
    RulesOutcome(RulesOutcome),
    #[prost(message, tag = "6")]
    Renew(RenewRequest),
}

/// One message of the stream; none: a kind that this version does not know.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FromCollector {
    #[allow(missing_docs)]
    #[prost(oneof = "FromCollectorMessage", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub message: Option<FromCollectorMessage>,
}

/// What a [`FromCollector`] is.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)]
pub enum FromCollectorMessage {
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    #[prost(message, tag = "2")]
    Acknowledged(Acknowledged),
    #[prost(message, tag = "3")]
    Evidence(EvidenceRequest),
    #[prost(message, tag = "4")]
    EvidenceMore(EvidenceMore),
    #[prost(message, tag = "5")]
    EvidenceCancel(EvidenceCancel),
    #[prost(message, tag = "6")]
    RulesOffer(RulesOffer),
    #[prost(message, tag = "7")]
    RulesPart(RulesPart),
    #[prost(message, tag = "8")]
    Renewed(Renewed),
}

/// The sensor's greeting.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// Of the sensor's program.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Its name as its records say it; the certificate's name decides.
    #[prost(string, tag = "2")]
    pub sensor: String,
    /// What the sender understands beside what every version does.
    #[prost(string, repeated, tag = "3")]
    pub capabilities: Vec<String>,
    /// The clock of whoever says this, nanoseconds since 1970.
    #[prost(fixed64, tag = "4")]
    pub clock_ns: u64,
    /// Of the collector's rules that are in force; 0: none.
    #[prost(uint64, tag = "5")]
    pub rules_version: u64,
}

/// The collector's greeting.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Welcome {
    /// The offer.
    #[prost(string, tag = "1")]
    pub version: String,
    /// What the sender understands beside what every version does.
    #[prost(string, repeated, tag = "2")]
    pub capabilities: Vec<String>,
    /// The clock of whoever says this, nanoseconds since 1970.
    #[prost(fixed64, tag = "3")]
    pub clock_ns: u64,
}

/// How the sensor is, every few seconds; also the sign that it lives.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Health {
    /// The clock of whoever says this, nanoseconds since 1970.
    #[prost(fixed64, tag = "1")]
    pub clock_ns: u64,
    /// Seconds since it began.
    #[prost(uint64, tag = "2")]
    pub uptime_s: u64,
    /// Captured.
    #[prost(uint64, tag = "3")]
    pub frames: u64,
    /// Captured.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// Frames lost, by cause.
    #[prost(btree_map = "string, uint64", tag = "5")]
    pub dropped: BTreeMap<String, u64>,
    /// Flow records made.
    #[prost(uint64, tag = "6")]
    pub records: u64,
    /// Flow records that will reach no collector.
    #[prost(uint64, tag = "7")]
    pub records_lost: u64,
    /// That wait for a collector.
    #[prost(uint64, tag = "8")]
    pub spool_bytes: u64,
    /// Looked for.
    #[prost(uint64, tag = "9")]
    pub rules: u64,
    /// That cannot be loaded.
    #[prost(uint64, tag = "10")]
    pub rules_refused: u64,
    /// Over whose cost packets were lost.
    #[prost(uint64, tag = "11")]
    pub rules_set_aside: u64,
    /// Disk space the ring uses.
    #[prost(uint64, tag = "12")]
    pub ring_used_bytes: u64,
    /// Disk space it may use.
    #[prost(uint64, tag = "13")]
    pub ring_budget_bytes: u64,
    /// How far back the ring reaches at the present rate; 0: not known.
    #[prost(uint64, tag = "14")]
    pub ring_keeps_s: u64,
    /// Of the collector's rules that are in force; 0: none.
    #[prost(uint64, tag = "15")]
    pub rules_version: u64,
}

/// Everything below `sequence` of `epoch` is stored durably.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Acknowledged {
    /// Of the spool.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// Of the next record.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
}

/// Packets that the collector wants of the sensor's ring.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EvidenceRequest {
    /// The collector's, not reused within a connection.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Empty: not by flow.
    #[prost(string, tag = "2")]
    pub community_id: String,
    /// Blocks as a flow's record names them; empty: the ring's index is asked.
    #[prost(string, tag = "3")]
    pub extents: String,
    /// Earliest time, nanoseconds since 1970.
    #[prost(fixed64, tag = "4")]
    pub since_ns: u64,
    /// Inclusive.
    #[prost(fixed64, tag = "5")]
    pub until_ns: u64,
    /// Pcap-filter(7); empty: everything.
    #[prost(string, tag = "6")]
    pub expression: String,
    /// Of pcapng; the answer ends there and says so.
    #[prost(uint64, tag = "7")]
    pub bytes_max: u64,
    /// [`EvidencePart`]s that may be under way; [`EvidenceMore`] gives more.
    #[prost(uint64, tag = "8")]
    pub window_parts: u64,
    /// Kept past the ring's turn as well; absent: not.
    #[prost(message, optional, tag = "9")]
    pub pin: Option<EvidencePin>,
}

/// How packets are to be kept.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EvidencePin {
    /// 0: until it is given back on the sensor.
    #[prost(uint64, tag = "1")]
    pub seconds: u64,
    /// Note.
    #[prost(string, tag = "2")]
    pub note: String,
}

/// The collector has taken this many parts of an answer: as many more may be sent.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EvidenceMore {
    /// The request.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// As many more.
    #[prost(uint64, tag = "2")]
    pub parts: u64,
}

/// No more of this answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EvidenceCancel {
    /// The request.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// A piece of an answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EvidencePart {
    /// The request.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The next bytes of it.
    #[prost(bytes = "vec", tag = "2")]
    pub pcapng: Vec<u8>,
}

/// The last of an answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EvidenceEnd {
    /// The request.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// An [`EvidenceOutcome`].
    #[prost(enumeration = "EvidenceOutcome", tag = "2")]
    pub outcome: i32,
    /// Of completeness, or why there are no packets.
    #[prost(string, tag = "3")]
    pub statement: String,
    /// Frames.
    #[prost(uint64, tag = "4")]
    pub frames: u64,
    /// Of pcapng.
    #[prost(uint64, tag = "5")]
    pub bytes: u64,
    /// What was pinned, in words; empty: nothing.
    #[prost(string, tag = "6")]
    pub pin: String,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum EvidenceOutcome {
    /// Not said.
    Unspecified = 0,
    /// Everything that was asked for.
    Complete = 1,
    /// What there is, and the statement says what is missing.
    Incomplete = 2,
    /// Not tried: no ring, a question that cannot be asked, too many at once.
    Refused = 3,
    /// Begun and not ended: the disk, the time, the bytes.
    Failed = 4,
}

/// Rules and indicator lists that the collector wants in force. The files' contents follow in RulesPart.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RulesOffer {
    /// A RulesManifest.
    #[prost(bytes = "vec", tag = "1")]
    pub manifest: Vec<u8>,
    /// Of the collector's authority, over "weir rules manifest v1\0" and the manifest.
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// What an offer consists of.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RulesManifest {
    /// Only ever goes up.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// In the order of their contents.
    #[prost(message, repeated, tag = "2")]
    pub files: Vec<RulesFile>,
    /// Of all contents, one after the other.
    #[prost(bytes = "vec", tag = "3")]
    pub sha256: Vec<u8>,
    /// When it was made, nanoseconds since 1970.
    #[prost(fixed64, tag = "4")]
    pub made_ns: u64,
}

/// One file of them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RulesFile {
    /// No directories.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Bytes.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// A piece of the contents.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RulesPart {
    /// The offer.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// The next bytes of them.
    #[prost(bytes = "vec", tag = "2")]
    pub contents: Vec<u8>,
}

/// What became of an offer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RulesOutcome {
    /// The offer.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// A [`RulesResult`].
    #[prost(enumeration = "RulesResult", tag = "2")]
    pub result: i32,
    /// Why not, or what was left out.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Rules that are in force.
    #[prost(uint64, tag = "4")]
    pub rules: u64,
    /// Of the files, that cannot be loaded.
    #[prost(uint64, tag = "5")]
    pub rules_refused: u64,
}

/// What became of an offer, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum RulesResult {
    /// Not said.
    Unspecified = 0,
    /// They are in force.
    Loaded = 1,
    /// Those before stay in force.
    Refused = 2,
}

/// A certificate to follow the present one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RenewRequest {
    /// PKCS #10.
    #[prost(string, tag = "1")]
    pub csr_pem: String,
}

/// The answer to it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Renewed {
    /// Empty: refused.
    #[prost(string, tag = "1")]
    pub chain_pem: String,
    /// What the sensor trusts from now on.
    #[prost(string, tag = "2")]
    pub authority_pem: String,
    /// Why.
    #[prost(string, tag = "3")]
    pub refused: String,
}

impl From<FromSensorMessage> for FromSensor {
    fn from(message: FromSensorMessage) -> FromSensor {
        FromSensor { message: Some(message) }
    }
}

impl From<FromCollectorMessage> for FromCollector {
    fn from(message: FromCollectorMessage) -> FromCollector {
        FromCollector { message: Some(message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use std::collections::BTreeSet;

    /// `message.field number` of every field, and `enum.VALUE number` of every value.
    fn described(proto: &str) -> BTreeSet<String> {
        let (mut found, mut within) = (BTreeSet::new(), String::new());
        for line in proto.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["message" | "enum", name, "{"] => within = (*name).to_owned(),
                ["//", ..] | ["oneof", ..] | ["syntax" | "package" | "rpc" | "service", ..] => {}
                all => {
                    let Some(equals) = all.iter().position(|word| *word == "=") else { continue };
                    let (name, number) = (all[equals - 1], all[equals + 1].trim_end_matches(';'));
                    let kind: String = all[..equals - 1].concat();
                    found.insert(format!("{within}.{name} {kind} {number}"));
                }
            }
        }
        found
    }

    /// The same of the types.
    fn written(source: &str) -> BTreeSet<String> {
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        let (mut found, mut within, mut attribute) = (BTreeSet::new(), String::new(), String::new());
        for line in source.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum ")) {
                within = rest.trim_end_matches(" {").to_owned();
            } else if let Some(rest) = line.strip_prefix("#[prost(") {
                attribute = rest.trim_end_matches(")]").to_owned();
            } else if let Some(field) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": ")) {
                let Some((_, tag)) = attribute.split_once("tag = ") else { continue };
                found.insert(format!(
                    "{within}.{} {} {}",
                    field.0,
                    kind(&attribute, field.1),
                    tag.trim_matches('"')
                ));
                attribute.clear();
            } else if let Some((name, held)) = line.trim_end_matches("),").split_once('(')
                && let Some((_, tag)) = attribute.split_once("tag = ")
            {
                let owner = within.trim_end_matches("Message");
                found.insert(format!("{owner}.{} {held} {}", snake(name), tag.trim_matches('"')));
                attribute.clear();
            } else if let Some((name, number)) = line.trim_end_matches(',').split_once(" = ")
                && number.parse::<i32>().is_ok()
            {
                let full = format!("{}_{}", snake(&within), snake(name)).to_uppercase();
                found.insert(format!("{within}.{full}  {number}"));
            }
        }
        found
    }

    fn kind(attribute: &str, held: &str) -> String {
        let inner = |text: &str| text.trim_end_matches(',').trim_end_matches('>').to_owned();
        let repeated = if attribute.contains("repeated") { "repeated" } else { "" };
        match attribute.split([' ', ',', '(']).next().unwrap_or_default() {
            "message" => format!("{repeated}{}", inner(held.split_once('<').map_or(held, |(_, rest)| rest))),
            "enumeration" => attribute.split('"').nth(1).unwrap_or_default().to_owned(),
            "btree_map" => "map<string,uint64>".to_owned(),
            plain => format!("{repeated}{plain}"),
        }
    }

    fn snake(name: &str) -> String {
        let mut text = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !text.is_empty() {
                text.push('_');
            }
            text.extend(letter.to_lowercase());
        }
        text
    }

    #[test]
    fn the_types_are_what_the_description_says() {
        let proto = described(include_str!("control.proto"));
        let types = written(include_str!("messages.rs"));
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
        assert_eq!((only(&proto, &types), only(&types, &proto)), (Vec::new(), Vec::new()));
        assert!(proto.len() > 80, "{}", proto.len());
    }

    #[test]
    fn every_tag_of_a_choice_is_listed_beside_it() {
        // What a list leaves out would be decoded as unknown.
        let all = (1..=8).map(|tag| [tag << 3 | 2, 0]);
        let known = |bytes: [u8; 2]| FromCollector::decode(&bytes[..]).unwrap().message.is_some();
        assert_eq!(all.map(known).collect::<Vec<_>>(), [true; 8]);
        let known = |tag: u8| FromSensor::decode(&[tag << 3 | 2, 0][..]).unwrap().message.is_some();
        assert_eq!((1..=7).map(known).collect::<Vec<_>>(), [true, true, true, true, true, true, false]);
    }

    #[test]
    fn a_later_version_s_fields_and_messages_are_passed_over() {
        let hello = Hello { version: "0.1.0".into(), rules_version: 7, ..Hello::default() };
        let mut bytes = hello.encode_to_vec();
        bytes.extend([0xfa, 0x01, 3, b'n', b'e', b'w']);
        assert_eq!(Hello::decode(&bytes[..]).unwrap(), hello);
        assert_eq!(FromCollector::decode(&[0x7a, 2, 8, 1][..]).unwrap(), FromCollector { message: None });
        // A word that a later version has for a result is one that this version does not know, and no error.
        let end = EvidenceEnd { outcome: 99, ..EvidenceEnd::default() };
        let end = EvidenceEnd::decode(&end.encode_to_vec()[..]).unwrap();
        assert!(EvidenceOutcome::try_from(end.outcome).is_err());
    }

    #[test]
    fn an_absurd_length_is_an_error_and_no_allocation() {
        let bytes = [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(RulesOffer::decode(&bytes[..]).is_err());
        assert!(RulesPart::decode(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x07, 1][..]).is_err());
    }
}
