#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stickler_guest_tests::hostile::kernels(bytes));
