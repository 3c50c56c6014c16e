//! The ring: a rolling, compressed, searchable pool of the packets themselves.

pub mod config;
