//! Bytes, through `forward`, and bytes again: a run of messages through a node.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluice_tests::oracles::forward(bytes));
