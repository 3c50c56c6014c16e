//! Any exporter's IPFIX messages to flow records.
//!
//! In: messages of one transport session, in the order they came. Out: flow records and options records,
//! handed to a [`Sink`], and a [`Summary`] per message. Templates are kept per observation domain and
//! within [`Limits`]; a data set without its template, a malformed set and a record without addresses
//! are outcomes that are counted, and the rest of the message is read. Deliberately absent: clocks
//! (template life times are the caller's) and sockets.

use super::elements as ie;
use super::error::DecodeError;
use super::plan::{Plan, Surroundings, number, take};
use super::template::FieldSpec;
use super::{
    MESSAGE_HEADER_BYTES, OPTIONS_TEMPLATE_SET, SET_HEADER_BYTES, TEMPLATE_ID_MIN, TEMPLATE_SET,
    VARIABLE_LENGTH, VERSION,
};
use crate::metadata::{ElementId, WEIR_PEN};
use crate::record::FlowRecord;
use std::collections::HashMap;

/// Most observation domains of which a session's decoder remembers sequence number and name; further
/// ones are decoded, but their gaps are not seen.
pub const DOMAINS_MAX: usize = 256;
/// Most octets kept of an observation domain's name.
pub const NAME_BYTES_MAX: usize = 256;

/// What one session's decoder may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most templates; a further one is refused.
    pub templates_max: usize,
    /// Most fields of all templates together, at about eight octets each.
    pub fields_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { templates_max: 4096, fields_max: 4096 * 32 }
    }
}

/// Who gets what was decoded.
pub trait Sink {
    /// A flow record, in the order of the message.
    fn flow(&mut self, record: FlowRecord);

    /// An options record; ignored unless the sink wants it.
    fn options(&mut self, _options: &OptionsRecord<'_>) {}
}

impl Sink for Vec<FlowRecord> {
    fn flow(&mut self, record: FlowRecord) {
        self.push(record);
    }
}

/// One options data record, as fields in the template's order.
#[derive(Clone, Debug)]
pub struct OptionsRecord<'a> {
    /// Observation domain of the message.
    pub domain: u32,
    /// How many of the first values are the scope.
    pub scope_fields: usize,
    /// Elements and their octets, scope first; [`WEIR_PEN`] stands for the configured enterprise number.
    pub values: &'a [(ElementId, &'a [u8])],
}

impl OptionsRecord<'_> {
    /// The octets of an element, when the record has it.
    pub fn value(&self, element: ie::Element) -> Option<&[u8]> {
        self.values.iter().find(|(id, _)| *id == element.id).map(|(_, value)| *value)
    }

    /// The value of an element as an unsigned number, when it has one to eight octets.
    pub fn number(&self, element: ie::Element) -> Option<u64> {
        self.value(element).filter(|value| (1..=8).contains(&value.len())).map(number)
    }

    /// The value of an element as text; what is not UTF-8 is replaced.
    pub fn text(&self, element: ie::Element) -> Option<String> {
        self.value(element).map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// What one message held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Observation domain.
    pub domain: u32,
    /// Export time, Unix seconds.
    pub export_time_s: u32,
    /// Sequence number.
    pub sequence: u32,
    /// Flow records handed to the sink.
    pub flows: u32,
    /// Options records handed to the sink.
    pub options: u32,
    /// Data records without addresses.
    pub without_addresses: u32,
    /// Templates and options templates learned, repeated ones included.
    pub templates: u32,
    /// Templates withdrawn.
    pub withdrawals: u32,
    /// Templates refused because of a limit or because they are malformed.
    pub templates_refused: u32,
    /// Data sets whose template is not known (any more, or yet).
    pub unknown_sets: u32,
    /// Sets that were malformed; what stands before the fault was used.
    pub malformed_sets: u32,
    /// Data records that the sequence numbers say are missing before this message.
    pub missing: u32,
    /// Whether the sequence number goes back: reordered datagrams, or an exporter that began anew.
    pub out_of_order: bool,
    /// The first fault, with its place.
    pub fault: Option<DecodeError>,
}

struct Template {
    kind: TemplateKind,
    fields: usize,
    record_bytes_min: usize,
}

enum TemplateKind {
    Data(Plan),
    Options { scope_fields: usize, fields: Box<[FieldSpec]> },
}

#[derive(Default)]
struct Domain {
    /// Sequence number that the next message should have; `None` when it cannot be known.
    expected: Option<u32>,
    name: Option<String>,
    system_init_ms: u64,
}

/// The decoder of one transport session: a TCP connection, a UDP exporter's address and port, a file.
pub struct Decoder {
    limits: Limits,
    enterprise: u32,
    templates: HashMap<(u32, u16), Template, foldhash::fast::RandomState>,
    fields: usize,
    domains: HashMap<u32, Domain, foldhash::fast::RandomState>,
}

/// The length that a message's header claims, once its first sixteen octets are there. For cutting a
/// stream into messages.
pub fn message_length(header: &[u8]) -> Result<usize, DecodeError> {
    let &[version_high, version_low, length_high, length_low, ..] = header else {
        let available = header.len();
        return Err(DecodeError::Truncated {
            what: "message header",
            offset: 0,
            needed: MESSAGE_HEADER_BYTES,
            available,
        });
    };
    let version = u16::from_be_bytes([version_high, version_low]);
    if version != VERSION {
        return Err(DecodeError::Version { found: version });
    }
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    if length < MESSAGE_HEADER_BYTES {
        let (min, max) = (MESSAGE_HEADER_BYTES, super::MESSAGE_BYTES_MAX);
        return Err(DecodeError::Length { what: "message", offset: 0, found: length, min, max });
    }
    Ok(length)
}

impl Decoder {
    /// A decoder that reads `enterprise`'s elements as Weir's own.
    pub fn new(limits: Limits, enterprise: u32) -> Decoder {
        Decoder { limits, enterprise, templates: HashMap::default(), fields: 0, domains: HashMap::default() }
    }

    /// The name that an observation domain gave itself (`observationDomainName`).
    pub fn name(&self, domain: u32) -> Option<&str> {
        self.domains.get(&domain)?.name.as_deref()
    }

    /// How many templates are kept.
    pub fn templates(&self) -> usize {
        self.templates.len()
    }

    /// Decodes one message. `Err` is a message whose frame is wrong, so that nothing of it is used;
    /// faults inside are told in the summary.
    pub fn message(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<Summary, DecodeError> {
        let length = message_length(bytes)?;
        let Some(message) = bytes.get(..length) else {
            let (needed, available) = (length, bytes.len());
            return Err(DecodeError::Truncated { what: "message", offset: 0, needed, available });
        };
        let word = |at: usize| number(message.get(at..at + 4).unwrap_or_default()) as u32;
        let mut summary =
            Summary { export_time_s: word(4), sequence: word(8), domain: word(12), ..Summary::default() };
        let known = self.check_sequence(&mut summary);
        let mut offset = MESSAGE_HEADER_BYTES;
        while offset < length {
            match self.set(message, offset, &mut summary, sink) {
                Ok(next) => offset = next,
                Err(fault) => {
                    summary.malformed_sets += 1;
                    summary.fault.get_or_insert(fault);
                    break;
                }
            }
        }
        let countable = summary.unknown_sets == 0 && summary.malformed_sets == 0;
        if known && let Some(domain) = self.domains.get_mut(&summary.domain) {
            let records = summary.flows + summary.options + summary.without_addresses;
            let next = summary.sequence.wrapping_add(records);
            domain.expected = countable.then_some(next);
        }
        Ok(summary)
    }

    /// Learns the templates of a message of an earlier session, whose sequence numbers mean nothing in this one. What is
    /// malformed is left out.
    pub fn learn_from(&mut self, bytes: &[u8]) {
        let Some(message) = message_length(bytes).ok().and_then(|length| bytes.get(..length)) else { return };
        let domain = number(message.get(12..MESSAGE_HEADER_BYTES).unwrap_or_default()) as u32;
        let mut summary = Summary { domain, ..Summary::default() };
        let mut offset = MESSAGE_HEADER_BYTES;
        while let Some(&[id_high, id_low, ..]) = message.get(offset..) {
            let id = u16::from_be_bytes([id_high, id_low]);
            if id != TEMPLATE_SET && id != OPTIONS_TEMPLATE_SET {
                return;
            }
            match self.set(message, offset, &mut summary, &mut Vec::new()) {
                Ok(next) => offset = next,
                Err(_) => return,
            }
        }
    }

    /// Compares the sequence number with what it should be; false when the domain is not remembered.
    fn check_sequence(&mut self, summary: &mut Summary) -> bool {
        if self.domains.len() >= DOMAINS_MAX && !self.domains.contains_key(&summary.domain) {
            return false;
        }
        let domain = self.domains.entry(summary.domain).or_default();
        if let Some(expected) = domain.expected {
            let ahead = summary.sequence.wrapping_sub(expected);
            if ahead < 1 << 31 {
                summary.missing = ahead;
            } else {
                summary.out_of_order = true;
            }
        }
        true
    }

    /// Reads the set at `offset` and says where the next one begins.
    fn set(
        &mut self,
        message: &[u8],
        offset: usize,
        summary: &mut Summary,
        sink: &mut impl Sink,
    ) -> Result<usize, DecodeError> {
        let rest = message.get(offset..).unwrap_or_default();
        let &[id_high, id_low, length_high, length_low, ..] = rest else {
            let (needed, available) = (SET_HEADER_BYTES, rest.len());
            return Err(DecodeError::Truncated { what: "set header", offset, needed, available });
        };
        let id = u16::from_be_bytes([id_high, id_low]);
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let Some(body) = rest.get(SET_HEADER_BYTES..length) else {
            let (min, max) = (SET_HEADER_BYTES, rest.len());
            return Err(DecodeError::Length { what: "set", offset, found: length, min, max });
        };
        let at = offset + SET_HEADER_BYTES;
        // A fault inside a set leaves the next set readable, because the length of this one is good.
        let outcome = match id {
            TEMPLATE_SET => self.template_set(body, at, false, summary),
            OPTIONS_TEMPLATE_SET => self.template_set(body, at, true, summary),
            TEMPLATE_ID_MIN.. => self.data_set(id, body, at, summary, sink),
            _ => {
                let expected = "2, 3 or at least 256";
                Err(DecodeError::Identifier { what: "set", offset, found: id, expected })
            }
        };
        if let Err(fault) = outcome {
            summary.malformed_sets += 1;
            summary.fault.get_or_insert(fault);
        }
        Ok(offset + length)
    }

    fn template_set(
        &mut self,
        body: &[u8],
        body_at: usize,
        options: bool,
        summary: &mut Summary,
    ) -> Result<(), DecodeError> {
        let mut rest = body;
        // Fewer octets than a template's header are padding.
        while let &[id_high, id_low, count_high, count_low, ref after @ ..] = rest {
            let offset = body_at + body.len() - rest.len();
            let id = u16::from_be_bytes([id_high, id_low]);
            let count = u16::from_be_bytes([count_high, count_low]);
            if id == 0 && rest.iter().all(|octet| *octet == 0) {
                break;
            }
            if count == 0 {
                rest = after;
                self.withdraw(summary.domain, id);
                summary.withdrawals += 1;
                continue;
            }
            if id < TEMPLATE_ID_MIN {
                let expected = "at least 256";
                return Err(DecodeError::Identifier { what: "template", offset, found: id, expected });
            }
            rest = after;
            let (scope, fields) = read_template(id, count, options, &mut rest, offset, self.enterprise)?;
            match self.learn(summary.domain, id, scope, fields, offset) {
                Ok(()) => summary.templates += 1,
                Err(fault) => {
                    summary.templates_refused += 1;
                    summary.fault.get_or_insert(fault);
                }
            }
        }
        Ok(())
    }

    /// Forgets one template, or all of a domain's (RFC 7011 section 8.1).
    fn withdraw(&mut self, domain: u32, id: u16) {
        if id >= TEMPLATE_ID_MIN {
            if let Some(old) = self.templates.remove(&(domain, id)) {
                self.fields -= old.fields;
            }
            return;
        }
        let wants_options = id == OPTIONS_TEMPLATE_SET;
        self.templates.retain(|(of, _), template| {
            *of != domain || matches!(template.kind, TemplateKind::Options { .. }) != wants_options
        });
        self.fields = self.templates.values().map(|template| template.fields).sum();
    }

    /// Keeps a template, in place of an earlier one of the same identifier.
    fn learn(
        &mut self,
        domain: u32,
        id: u16,
        scope: Option<usize>,
        fields: Vec<FieldSpec>,
        offset: usize,
    ) -> Result<(), DecodeError> {
        let record_bytes_min = fields
            .iter()
            .map(|field| if field.length == VARIABLE_LENGTH { 1 } else { usize::from(field.length) })
            .sum();
        if record_bytes_min == 0 {
            return Err(DecodeError::EmptyRecord { template: id, offset });
        }
        let replaced = self.templates.get(&(domain, id)).map(|template| template.fields);
        if replaced.is_none() && self.templates.len() >= self.limits.templates_max {
            let limit = self.limits.templates_max;
            return Err(DecodeError::Limit { template: id, offset, what: "templates", limit });
        }
        let total = self.fields - replaced.unwrap_or(0) + fields.len();
        if total > self.limits.fields_max {
            let limit = self.limits.fields_max;
            return Err(DecodeError::Limit { template: id, offset, what: "fields of all templates", limit });
        }
        self.fields = total;
        let count = fields.len();
        let kind = match scope {
            Some(scope_fields) => TemplateKind::Options { scope_fields, fields: fields.into() },
            None => TemplateKind::Data(Plan::compile(&fields)),
        };
        self.templates.insert((domain, id), Template { kind, fields: count, record_bytes_min });
        Ok(())
    }

    fn data_set(
        &mut self,
        id: u16,
        body: &[u8],
        body_at: usize,
        summary: &mut Summary,
        sink: &mut impl Sink,
    ) -> Result<(), DecodeError> {
        let Some(template) = self.templates.get(&(summary.domain, id)) else {
            summary.unknown_sets += 1;
            return Ok(());
        };
        let system_init_ms = self.domains.get(&summary.domain).map_or(0, |domain| domain.system_init_ms);
        let around = Surroundings { export_time_s: summary.export_time_s, system_init_ms };
        let mut rest = body;
        while rest.len() >= template.record_bytes_min && !is_padding(rest) {
            let offset = body_at + body.len() - rest.len();
            let truncated = |(needed, available)| DecodeError::Truncated {
                what: "data record",
                offset,
                needed,
                available,
            };
            match &template.kind {
                TemplateKind::Data(plan) => match plan.run(&mut rest, around).map_err(truncated)? {
                    Some(record) => {
                        summary.flows += 1;
                        sink.flow(record);
                    }
                    None => summary.without_addresses += 1,
                },
                TemplateKind::Options { scope_fields, fields } => {
                    let mut values = Vec::with_capacity(fields.len());
                    for field in fields {
                        values.push((field.element, take(&mut rest, field.length).map_err(truncated)?));
                    }
                    let options = OptionsRecord {
                        domain: summary.domain,
                        scope_fields: *scope_fields,
                        values: &values,
                    };
                    summary.options += 1;
                    if let Some(domain) = self.domains.get_mut(&summary.domain) {
                        domain.note(&options);
                    }
                    sink.options(&options);
                }
            }
        }
        Ok(())
    }
}

impl Domain {
    /// Keeps what later messages need.
    fn note(&mut self, options: &OptionsRecord<'_>) {
        if let Some(name) = options.value(ie::OBSERVATION_DOMAIN_NAME) {
            let kept = name.get(..NAME_BYTES_MAX).unwrap_or(name);
            let known = self.name.as_ref().is_some_and(|have| have.as_bytes() == kept);
            if !known && !kept.is_empty() {
                self.name = Some(String::from_utf8_lossy(kept).into_owned());
            }
        }
        if let Some(system_init_ms) = options.number(ie::SYSTEM_INIT_TIME_MILLISECONDS) {
            self.system_init_ms = system_init_ms;
        }
    }
}

/// Padding where records may be shorter than padding: less than four octets, all zero.
fn is_padding(rest: &[u8]) -> bool {
    rest.len() < 4 && rest.iter().all(|octet| *octet == 0)
}

/// Reads a template's fields and, for an options template, its scope; moves `rest` past it.
fn read_template(
    id: u16,
    count: u16,
    options: bool,
    rest: &mut &[u8],
    offset: usize,
    enterprise: u32,
) -> Result<(Option<usize>, Vec<FieldSpec>), DecodeError> {
    let truncated =
        |needed, available| DecodeError::Truncated { what: "template", offset, needed, available };
    let mut scope = None;
    if options {
        let &[high, low, ref after @ ..] = *rest else { return Err(truncated(2, rest.len())) };
        let found = u16::from_be_bytes([high, low]);
        if found == 0 || found > count {
            return Err(DecodeError::Scope { template: id, offset, found, fields: count });
        }
        scope = Some(usize::from(found));
        *rest = after;
    }
    // A field takes at least four octets, which bounds what a claimed count can reserve.
    let mut fields = Vec::with_capacity(usize::from(count).min(rest.len() / 4));
    for _ in 0..count {
        let &[number_high, number_low, length_high, length_low, ref after @ ..] = *rest else {
            return Err(truncated(4, rest.len()));
        };
        let number = u16::from_be_bytes([number_high, number_low]);
        let length = u16::from_be_bytes([length_high, length_low]);
        *rest = after;
        let mut pen = 0;
        if number & 0x8000 != 0 {
            let &[a, b, c, d, ref after @ ..] = *rest else { return Err(truncated(4, rest.len())) };
            pen = u32::from_be_bytes([a, b, c, d]);
            *rest = after;
        }
        let own = pen != 0 && pen == enterprise;
        let element = ElementId { enterprise: if own { WEIR_PEN } else { pen }, number: number & 0x7fff };
        fields.push(FieldSpec { element, length });
    }
    Ok((scope, fields))
}
