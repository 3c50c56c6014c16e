//! Triage: decides what an incident means and where it goes.
