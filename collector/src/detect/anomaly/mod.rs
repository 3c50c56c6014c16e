//! Anomalies: what behaves as trouble does, whoever it is.
//!
//! Every detector here leaves records alone that the owner declared legitimate.

pub mod scan;
pub mod login;
pub mod beacon;
pub mod newcomer;
