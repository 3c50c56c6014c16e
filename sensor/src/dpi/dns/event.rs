//! One DNS message as EVE describes it, version 3.
//!
//! In: a message. Out: a JSON object with Suricata's field names and value formats. Records beyond
//! [`RECORDS_MAX`] are left out.

use super::message::{Message, Name, NameBuffer, Record, name_offset, options, rdata_name, texts};
use super::types::{hex, push_hex, rcode_name, rr, rr_name, text};
use std::net::Ipv4Addr;
use weir_common::json::{List, Object};

/// Most records written of one section.
pub(super) const RECORDS_MAX: usize = 256;
/// Most bytes of an EDNS option written.
const OPTION_BYTES_MAX: usize = 256;

/// Types whose values EVE also gives grouped by type.
const GROUPED: [u16; 11] =
    [rr::A, rr::AAAA, rr::CNAME, rr::NS, rr::PTR, rr::MX, rr::TXT, rr::NULL, rr::SRV, rr::SSHFP, rr::SOA];

/// Fills the object.
pub(super) fn write(
    message: &Message<'_>,
    transaction: u64,
    names: &mut NameBuffer,
    object: &mut Object<'_>,
) {
    let flags = message.flags();
    object.number("version", 3u8);
    object.text("type", if message.is_response() { "response" } else { "request" });
    object.number("tx_id", transaction).number("id", message.id());
    let digits = hex(&flags.to_be_bytes(), "");
    let digits = digits.trim_start_matches('0');
    object.text("flags", if digits.is_empty() { "0" } else { digits });
    let bits =
        [("qr", 0x8000), ("aa", 0x0400), ("tc", 0x0200), ("rd", 0x0100), ("ra", 0x0080), ("z", 0x0040)];
    for (name, bit) in bits {
        if flags & bit != 0 {
            object.bool(name, true);
        }
    }
    object.number("opcode", message.opcode()).text("rcode", &rcode_name(message.rcode()));
    if message.count(0) > 0 {
        let mut list = object.list("queries");
        let mut left = RECORDS_MAX;
        message.questions(names, |name, rtype| {
            if left > 0 {
                left -= 1;
                let mut question = list.object();
                write_name(["rrname", "rrname_truncated"], name, &mut question);
                question.text("rrtype", &rr_name(rtype));
            }
        });
    }
    let sections = message.sections();
    for (key, records) in ["answers", "authorities", "additionals"].into_iter().zip(sections) {
        // An OPT record without options says nothing.
        let mut records = records
            .filter(|record| record.rtype != rr::OPT || options(record.data).next().is_some())
            .take(RECORDS_MAX)
            .peekable();
        if records.peek().is_none() {
            continue;
        }
        let mut list = object.list(key);
        for record in records {
            write_record(message, &record, names, &mut list);
        }
    }
    let [answers, ..] = sections;
    let answers = answers.take(RECORDS_MAX);
    let is_present = |rtype: u16| answers.clone().any(|record| record.rtype == rtype);
    if answers.clone().any(|record| GROUPED.contains(&record.rtype)) {
        let mut grouped = object.object("grouped");
        for rtype in GROUPED.into_iter().filter(|rtype| is_present(*rtype)) {
            let mut list = grouped.list(group_key(rtype));
            for record in answers.clone().filter(|record| record.rtype == rtype) {
                write_grouped(message, &record, names, &mut list);
            }
        }
    }
}

fn group_key(rtype: u16) -> &'static str {
    match rtype {
        rr::A => "A",
        rr::AAAA => "AAAA",
        rr::CNAME => "CNAME",
        rr::NS => "NS",
        rr::PTR => "PTR",
        rr::MX => "MX",
        rr::TXT => "TXT",
        rr::NULL => "NULL",
        rr::SRV => "SRV",
        rr::SOA => "SOA",
        _ => "SSHFP",
    }
}

/// A record with its data; each text of a TXT record is an entry of its own.
fn write_record(message: &Message<'_>, record: &Record<'_>, names: &mut NameBuffer, list: &mut List<'_>) {
    let is_text = matches!(record.rtype, rr::TXT | rr::SPF);
    if !is_text || texts(record.data).next().is_none() {
        let mut object = list.object();
        write_owner(message, record, names, &mut object);
        write_data(message, record, names, &mut object);
        return;
    }
    for value in texts(record.data).take(RECORDS_MAX) {
        let mut object = list.object();
        write_owner(message, record, names, &mut object);
        object.text("rdata", &text(value));
    }
}

fn write_owner(message: &Message<'_>, record: &Record<'_>, names: &mut NameBuffer, object: &mut Object<'_>) {
    let name = message.name(record.name_at, names).map_or(Name::default(), |(name, _)| name);
    write_name(["rrname", "rrname_truncated"], name, object);
    object.text("rrtype", &rr_name(record.rtype)).number("ttl", record.ttl);
}

/// A name, and whether it goes on.
pub(super) fn write_name(keys: [&'static str; 2], name: Name<'_>, object: &mut Object<'_>) {
    object.text(keys[0], &text(name.text));
    if name.is_cut {
        object.bool(keys[1], true);
    }
}

fn write_data(message: &Message<'_>, record: &Record<'_>, names: &mut NameBuffer, object: &mut Object<'_>) {
    match record.rtype {
        rr::SOA => write_soa(message, record, names, &mut object.object("soa")),
        rr::SRV => write_srv(message, record, names, &mut object.object("srv")),
        rr::SSHFP => write_sshfp(record.data, &mut object.object("sshfp")),
        rr::OPT => {
            write_options(record.data, &mut object.list("opt"));
        }
        rr::A | rr::AAAA | rr::NULL => with_value(message, record, names, |value| {
            object.text("rdata", value);
        }),
        rtype => {
            let name = name_offset(rtype).and_then(|offset| rdata_name(message, record, offset, names));
            if let Some(name) = name {
                write_name(["rdata", "rdata_truncated"], name, object);
            }
        }
    }
}

fn write_grouped(message: &Message<'_>, record: &Record<'_>, names: &mut NameBuffer, list: &mut List<'_>) {
    match record.rtype {
        rr::TXT => texts(record.data).take(RECORDS_MAX).for_each(|value| list.bytes(text(value).as_bytes())),
        rr::SRV => write_srv(message, record, names, &mut list.object()),
        rr::SSHFP => write_sshfp(record.data, &mut list.object()),
        rr::SOA => write_soa(message, record, names, &mut list.object()),
        _ => with_value(message, record, names, |value| list.bytes(value.as_bytes())),
    }
}

/// Hands over the text of data that is one value.
fn with_value(message: &Message<'_>, record: &Record<'_>, names: &mut NameBuffer, write: impl FnOnce(&str)) {
    match record.rtype {
        rr::A => {
            if let Ok(octets) = <[u8; 4]>::try_from(record.data) {
                write(&Ipv4Addr::from(octets).to_string());
            }
        }
        rr::AAAA => {
            if let Ok(octets) = <[u8; 16]>::try_from(record.data) {
                write(&full_ipv6(&octets));
            }
        }
        rr::NULL => write(&text(record.data)),
        rtype => {
            let offset = name_offset(rtype).unwrap_or(0);
            if let Some(name) = rdata_name(message, record, offset, names) {
                write(&text(name.text));
            }
        }
    }
}

pub(super) fn write_soa(
    message: &Message<'_>,
    record: &Record<'_>,
    names: &mut NameBuffer,
    soa: &mut Object<'_>,
) {
    let Some((name, next)) = message.name(record.data_at, names) else { return };
    write_name(["mname", "mname_truncated"], name, soa);
    let Some((name, next)) = message.name(next, names) else { return };
    write_name(["rname", "rname_truncated"], name, soa);
    let Some(numbers) = next.checked_sub(record.data_at).and_then(|from| record.data.get(from..)) else {
        return;
    };
    for (key, number) in
        ["serial", "refresh", "retry", "expire", "minimum"].into_iter().zip(numbers.chunks_exact(4))
    {
        soa.number(key, number.try_into().map_or(0, u32::from_be_bytes));
    }
}

pub(super) fn write_srv(
    message: &Message<'_>,
    record: &Record<'_>,
    names: &mut NameBuffer,
    srv: &mut Object<'_>,
) {
    for (key, number) in ["priority", "weight", "port"].into_iter().zip(record.data.chunks_exact(2)) {
        srv.number(key, number.try_into().map_or(0, u16::from_be_bytes));
    }
    if let Some(name) = rdata_name(message, record, 6, names) {
        write_name(["name", "name_truncated"], name, srv);
    }
}

pub(super) fn write_sshfp(data: &[u8], sshfp: &mut Object<'_>) {
    if let [algorithm, kind, fingerprint @ ..] = data {
        let fingerprint = fingerprint.get(..OPTION_BYTES_MAX).unwrap_or(fingerprint);
        sshfp.text("fingerprint", &hex(fingerprint, ":")).number("algo", *algorithm).number("type", *kind);
    }
}

/// The options of an OPT record.
pub(super) fn write_options(data: &[u8], list: &mut List<'_>) {
    for (code, value) in options(data).take(RECORDS_MAX) {
        let value = value.get(..OPTION_BYTES_MAX).unwrap_or(value);
        list.object().number("code", code).text("data", &hex(value, ""));
    }
}

/// An IPv6 address with all its digits, as EVE has it in answers.
pub(super) fn full_ipv6(octets: &[u8; 16]) -> String {
    let mut text = String::with_capacity(39);
    for pair in octets.chunks_exact(2) {
        if !text.is_empty() {
            text.push(':');
        }
        pair.iter().for_each(|byte| push_hex(&mut text, *byte));
    }
    text
}
