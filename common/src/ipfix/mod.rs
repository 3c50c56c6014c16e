//! IPFIX (RFC 7011): the element table, templates, encoding and decoding.
