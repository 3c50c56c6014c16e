//! Evidence: the packets behind an alert.
