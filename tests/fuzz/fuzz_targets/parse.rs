//! Bytes, read as a message and as every value that a message may hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluice_tests::oracles::parse(bytes));
