//! The dissector of `tds`: any bytes in both directions, cut anywhere, with holes.
#![no_main]

weir_sensor_fuzz::dissector!(Tds);
