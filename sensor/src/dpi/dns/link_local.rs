//! One message of multicast DNS or LLMNR as EVE describes it.
//!
//! In: a message. Out: a JSON object with Suricata's field names: types in lower case, a record's data under
//! its type's name, the header's flags as a list. Records beyond [`RECORDS_MAX`] are left out.

use super::event::{RECORDS_MAX, full_ipv6, write_name, write_options, write_soa, write_srv, write_sshfp};
use super::message::{Message, Name, NameBuffer, Record, name_offset, options, rdata_name, texts};
use super::types::{rr, rr_key, text};
use std::net::Ipv4Addr;
use weir_common::app::App;
use weir_common::json::Object;

const MDNS_FLAGS: &[(u16, &str)] = &[
    (0x0400, "aa"),
    (0x0200, "tc"),
    (0x0100, "rd"),
    (0x0080, "ra"),
    (0x0040, "z"),
    (0x0020, "ad"),
    (0x0010, "cd"),
];
/// Conflict, truncation, tentative (RFC 4795 section 2.1.1).
const LLMNR_FLAGS: &[(u16, &str)] = &[(0x0400, "c"), (0x0200, "tc"), (0x0100, "t")];

/// Most bytes written of data without a form of its own.
const DATA_BYTES_MAX: usize = 1024;

/// Fills the object.
pub(super) fn write(message: &Message<'_>, app: App, names: &mut NameBuffer, object: &mut Object<'_>) {
    let flags = message.flags();
    object.text("type", if message.is_response() { "response" } else { "request" });
    object.number("id", message.id());
    let known = if app == App::Mdns { MDNS_FLAGS } else { LLMNR_FLAGS };
    let mut set = known.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).peekable();
    if set.peek().is_some() {
        object.texts("flags", set);
    }
    object.number("opcode", message.opcode());
    if app == App::Mdns {
        object.number("rcode", message.rcode());
    }
    if message.count(0) > 0 {
        let mut list = object.list("queries");
        let mut left = RECORDS_MAX;
        message.questions(names, |name, rtype| {
            if left > 0 {
                left -= 1;
                let mut question = list.object();
                write_name(["rrname", "rrname_truncated"], name, &mut question);
                question.text("rrtype", &rr_key(rtype));
            }
        });
    }
    for (key, records) in ["answers", "authorities", "additionals"].into_iter().zip(message.sections()) {
        let records =
            records.filter(|record| record.rtype != rr::OPT || options(record.data).next().is_some());
        let mut records = records.take(RECORDS_MAX).peekable();
        if records.peek().is_none() {
            continue;
        }
        let mut list = object.list(key);
        for record in records {
            write_record(message, &record, names, &mut list.object());
        }
    }
}

fn write_record(message: &Message<'_>, record: &Record<'_>, names: &mut NameBuffer, object: &mut Object<'_>) {
    let name = message.name(record.name_at, names).map_or(Name::default(), |(name, _)| name);
    write_name(["rrname", "rrname_truncated"], name, object);
    let key = rr_key(record.rtype);
    match record.rtype {
        rr::A => {
            if let Ok(octets) = <[u8; 4]>::try_from(record.data) {
                object.text_at(&key, &Ipv4Addr::from(octets).to_string());
            }
        }
        rr::AAAA => {
            if let Ok(octets) = <[u8; 16]>::try_from(record.data) {
                object.text_at(&key, &full_ipv6(&octets));
            }
        }
        rr::TXT => {
            object.texts("txt", texts(record.data).take(RECORDS_MAX).map(|value| text(value).into_owned()));
        }
        rr::SOA => write_soa(message, record, names, &mut object.object("soa")),
        rr::SRV => write_srv(message, record, names, &mut object.object("srv")),
        rr::SSHFP => write_sshfp(record.data, &mut object.object("sshfp")),
        rr::OPT => write_options(record.data, &mut object.list("opt")),
        rtype if name_offset(rtype).is_some() => {
            let name = rdata_name(message, record, name_offset(rtype).unwrap_or(0), names);
            let name = name.unwrap_or_default();
            object.text_at(&key, &text(name.text));
            if name.is_cut {
                object.bool("rdata_truncated", true);
            }
        }
        _ => {
            let data = record.data.get(..DATA_BYTES_MAX).unwrap_or(record.data);
            object.text_at(&key, &text(data));
        }
    }
}
