//! The dissector of `dnp3`: any bytes in both directions, cut anywhere, with holes.
#![no_main]

weir_sensor_fuzz::dissector!(Dnp3);
