#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| walferry::fuzzing::text_decoders(data));
