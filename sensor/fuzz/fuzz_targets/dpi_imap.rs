//! The dissector of `imap`: any bytes in both directions, cut anywhere, with holes.
#![no_main]

weir_sensor_fuzz::dissector!(Imap);
