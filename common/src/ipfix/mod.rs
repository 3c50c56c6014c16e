//! IPFIX as Weir writes and reads it: RFC 7011 (messages), 7012 (types), 5103 (biflows), 5610 (element
//! descriptions), 6313 (lists) and 5655 (files).
//!
//! In: [`FlowRecord`]s to encode, messages of any exporter to decode. Out: message bytes, flow records,
//! options records. Deliberately absent: sockets, clocks, queues and policy; which template a record
//! has follows from the record and the tables in [`elements`] and [`crate::metadata`] alone, so that
//! the two programs need no agreement beyond this crate.
//!
//! [`FlowRecord`]: crate::record::FlowRecord

pub mod elements;
pub mod template;
pub mod time;
pub mod encode;
pub mod options;
pub mod profile;
pub mod alert;
pub mod error;
mod ops;
mod packets;
mod plan;
pub mod decode;
pub mod file;

/// The version in every message header (RFC 7011 section 3.1).
pub const VERSION: u16 = 10;
/// Octets of a message header.
pub const MESSAGE_HEADER_BYTES: usize = 16;
/// Octets of a set header.
pub const SET_HEADER_BYTES: usize = 4;
/// Most octets of a message: its length field has sixteen bits.
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// The length in a field specifier that says "variable length" (RFC 7011 section 7).
pub const VARIABLE_LENGTH: u16 = 65_535;
/// Set of templates.
pub const TEMPLATE_SET: u16 = 2;
/// Set of options templates.
pub const OPTIONS_TEMPLATE_SET: u16 = 3;
/// The lowest template identifier.
pub const TEMPLATE_ID_MIN: u16 = 256;

#[cfg(test)]
mod tests;
