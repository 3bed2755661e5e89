//! The binary front end.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = kapi::front::elf::parse("fuzz.o", data);
});
