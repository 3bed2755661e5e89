//! What the kernel's debugfs gives, as text and as JSON; and the tool's own JSON.
#![no_main]

use kapi::diag::Source;
use kapi::front::{debugfs, tree};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parsed = debugfs::parse_text("fuzz", &text);
    if let Ok(value) = serde_json::from_str(&text) {
        parsed.append(debugfs::parse_json("fuzz", &value));
        parsed.append(tree::read_text("fuzz.kapi.json", &text));
    }
    for spec in &parsed.specs {
        let _ = kapi::emit::emit(std::slice::from_ref(spec), kapi::emit::Format::Json);
    }
    let source = Source::new("fuzz", text.as_ref());
    let _ = (source.name.len(), parsed.diagnostics.iter().map(ToString::to_string).count());
});
