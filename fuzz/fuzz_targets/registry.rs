#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| walferry::fuzzing::registry(data));
