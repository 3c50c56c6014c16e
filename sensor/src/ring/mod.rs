//! The ring: a rolling, compressed, searchable pool of the packets themselves.

pub mod config;
pub mod format;
mod view;
mod block;
mod summary;
