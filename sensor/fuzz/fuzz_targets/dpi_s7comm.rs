//! The dissector of `s7comm`: any bytes in both directions, cut anywhere, with holes.
#![no_main]

weir_sensor_fuzz::dissector!(S7comm);
