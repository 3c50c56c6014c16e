//! Why bytes are not the IPFIX that they should be: where, what was found, what was expected.

use thiserror::Error;

/// What a message cannot be read for. Offsets count from the message's first octet.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end before what they announce.
    #[error("{what} at byte {offset} needs {needed} bytes, {available} are there")]
    Truncated {
        /// What is cut off.
        what: &'static str,
        /// Where it begins.
        offset: usize,
        /// Octets it needs.
        needed: usize,
        /// Octets there are.
        available: usize,
    },
    /// The first two octets are not IPFIX's version.
    #[error("version {found} at byte 0, expected 10")]
    Version {
        /// What they are.
        found: u16,
    },
    /// A length contradicts the bytes around it.
    #[error("{what} length {found} at byte {offset}, expected {min} to {max}")]
    Length {
        /// Whose length.
        what: &'static str,
        /// Where the thing begins.
        offset: usize,
        /// The length.
        found: usize,
        /// Least that would do.
        min: usize,
        /// Most that would do.
        max: usize,
    },
    /// A set or template identifier that means nothing.
    #[error("{what} identifier {found} at byte {offset}, expected {expected}")]
    Identifier {
        /// Whose identifier.
        what: &'static str,
        /// Where the thing begins.
        offset: usize,
        /// The identifier.
        found: u16,
        /// Which would do.
        expected: &'static str,
    },
    /// An options template has no scope or more scope than fields.
    #[error("options template {template} at byte {offset} has {found} scope fields, expected 1 to {fields}")]
    Scope {
        /// The template.
        template: u16,
        /// Where it begins.
        offset: usize,
        /// Its scope fields.
        found: u16,
        /// Its fields.
        fields: u16,
    },
    /// A template whose records would have no octets.
    #[error("template {template} at byte {offset} describes records of 0 bytes, expected at least 1")]
    EmptyRecord {
        /// The template.
        template: u16,
        /// Where it begins.
        offset: usize,
    },
    /// A limit of the decoder is reached; the template is not kept.
    #[error("template {template} at byte {offset} is one too many: {what} are limited to {limit}")]
    Limit {
        /// The template.
        template: u16,
        /// Where it begins.
        offset: usize,
        /// What is limited.
        what: &'static str,
        /// To how many.
        limit: usize,
    },
}

/// Why an IPFIX file or stream cannot be read on.
#[derive(Debug, Error)]
pub enum FileError {
    /// Bytes are missing, or are not a message.
    #[error("message at byte {offset} of the file: {source}")]
    Message {
        /// Where the message begins, from the file's first octet.
        offset: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The operating system could not read.
    #[error("at byte {offset} of the file: {source}")]
    Read {
        /// How far reading came.
        offset: u64,
        /// What the system said.
        source: std::io::Error,
    },
}
