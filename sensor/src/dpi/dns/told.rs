//! What signatures look into of a message.
//!
//! In: a message. Out: its names, types and codes as parts of the transaction's side, as Suricata's sticky buffers
//! have them: names with dots between labels and none at the end. A section is told up to its first name that is the
//! root's, where Suricata stops as well. Deliberately absent: data that is no name.

use super::message::{Message, NameBuffer, Record, Records, rdata_name};
use super::types::rr;
use crate::dpi::Context;
use crate::dpi::buffers::{Buffer, Number};
use weir_common::app::App;

/// The buffers of one of the three applications.
struct Buffers {
    queries: Buffer,
    response: Buffer,
    sections: [Buffer; 3],
}

const DNS: Buffers = Buffers {
    queries: Buffer::DnsQueriesRrname,
    response: Buffer::DnsResponseRrname,
    sections: [Buffer::DnsAnswersRrname, Buffer::DnsAuthoritiesRrname, Buffer::DnsAdditionalsRrname],
};

const MDNS: Buffers = Buffers {
    queries: Buffer::MdnsQueriesRrname,
    response: Buffer::MdnsResponseRrname,
    sections: [Buffer::MdnsAnswersRrname, Buffer::MdnsAuthoritiesRrname, Buffer::MdnsAdditionalsRrname],
};

const LLMNR: Buffers = Buffers {
    queries: Buffer::LlmnrQueriesRrname,
    response: Buffer::LlmnrResponseRrname,
    sections: [Buffer::LlmnrAnswersRrname, Buffer::LlmnrAuthoritiesRrname, Buffer::LlmnrAdditionalsRrname],
};

/// Tells a message's parts. HTTP/2 carries messages of DNS.
pub(super) fn tell(
    message: &Message<'_>,
    transaction: u64,
    names: &mut NameBuffer,
    context: &mut Context<'_>,
) {
    let buffers = match context.app {
        App::Mdns => &MDNS,
        App::Llmnr => &LLMNR,
        _ => &DNS,
    };
    let is_response = message.is_response();
    // Suricata has multicast DNS's questions of requests alone there.
    if !(is_response && context.app == App::Mdns) {
        tell_questions(message, buffers.queries, transaction, names, context);
    }
    if !is_response && context.app != App::Mdns && context.app != App::Llmnr {
        tell_questions(message, Buffer::DnsQuery, transaction, names, context);
    }
    for (at, (buffer, records)) in buffers.sections.into_iter().zip(message.sections()).enumerate() {
        // Only the first section is looked at in requests.
        if context.wants(buffer) && (is_response || at == 0) {
            tell_names(message, records, (buffer, false), transaction, names, context);
        }
    }
    if is_response && context.wants(buffers.response) {
        tell_questions(message, buffers.response, transaction, names, context);
        for records in message.sections() {
            tell_names(message, records, (buffers.response, true), transaction, names, context);
        }
    }
    tell_numbers(message, transaction, names, context);
}

fn tell_questions(
    message: &Message<'_>,
    buffer: Buffer,
    transaction: u64,
    names: &mut NameBuffer,
    context: &mut Context<'_>,
) {
    if !context.wants(buffer) {
        return;
    }
    let direction = context.direction;
    let mut is_over = false;
    message.questions(names, |name, _| {
        is_over |= name.text.is_empty();
        if !is_over {
            context.put(direction, transaction, buffer, name.text);
        }
    });
}

/// The owners' names, up to the first that is none; `with_data`: behind each the name in its data.
fn tell_names(
    message: &Message<'_>,
    records: Records<'_>,
    (buffer, with_data): (Buffer, bool),
    transaction: u64,
    names: &mut NameBuffer,
    context: &mut Context<'_>,
) {
    for record in records {
        match message.name(record.name_at, names) {
            Some((name, _)) if !name.text.is_empty() => {
                context.put(context.direction, transaction, buffer, name.text);
            }
            _ => return,
        }
        if !with_data {
            continue;
        }
        if let Some(name) = name_in(message, &record, names).filter(|name| !name.is_empty()) {
            context.put(context.direction, transaction, buffer, name);
        }
    }
}

fn name_in<'b>(message: &Message<'_>, record: &Record<'_>, names: &'b mut NameBuffer) -> Option<&'b [u8]> {
    let offset = match record.rtype {
        rr::CNAME | rr::PTR | rr::NS | rr::SOA => 0,
        rr::MX => 2,
        _ => return None,
    };
    rdata_name(message, record, offset, names).map(|name| name.text)
}

fn tell_numbers(message: &Message<'_>, transaction: u64, names: &mut NameBuffer, context: &mut Context<'_>) {
    if matches!(context.app, App::Mdns | App::Llmnr) {
        return;
    }
    let direction = context.direction;
    context.put_number(direction, transaction, Number::DnsOpcode, message.opcode().into());
    context.put_number(direction, transaction, Number::DnsRcode, message.rcode().into());
    if !context.wanted.is_some_and(|wanted| wanted.has_number(Number::DnsRrtype)) {
        return;
    }
    if message.is_response() {
        for record in message.answers() {
            context.put_number(direction, transaction, Number::DnsRrtype, record.rtype.into());
        }
    } else {
        message.questions(names, |_, rtype| {
            context.put_number(direction, transaction, Number::DnsRrtype, rtype.into());
        });
    }
}
