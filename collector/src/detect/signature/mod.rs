//! Signatures over records: what is known to be bad, by name or by rule.

pub mod indicator;
pub mod indicator_rules;
pub mod condition;
pub mod sensor;
