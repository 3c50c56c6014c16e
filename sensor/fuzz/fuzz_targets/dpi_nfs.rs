//! The dissector of `nfs`: any bytes in both directions, cut anywhere, with holes.
#![no_main]

weir_sensor_fuzz::dissector!(Nfs);
