//! Every text front end, and what is made of the result.
#![no_main]

use kapi::emit::{Format, emit};
use kapi::front::{kdoc, tree};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let parsed = tree::read_text("fuzz.c", &text);
    for spec in &parsed.specs {
        let _ = kapi::lint::lint(std::slice::from_ref(spec), &[]);
        for (_, format) in Format::ALL {
            let _ = emit(std::slice::from_ref(spec), format);
        }
        let _ = tree::read_text("again.c", &kdoc::write(spec));
    }
    for diagnostic in &parsed.diagnostics {
        let _ = diagnostic.to_string();
    }
});
