//! Flow table: turns packets into flow records.

pub mod config;
