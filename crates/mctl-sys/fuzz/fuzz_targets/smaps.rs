//! Any bytes: slice and stream agree, the remembered layout changes nothing, no text is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mctl_sys::procfs::counters::{Counter, Want};
use mctl_sys::procfs::smaps::SmapsEntries;
use mctl_sys::procfs::smaps_reader::SmapsReader;
use mctl_sys::procfs::smaps_rollup;

fuzz_target!(|text: &[u8]| {
    let mut reader = SmapsReader::new(text);
    let mut some = SmapsEntries::with(text, Want::NONE.and(Counter::Swap));
    let mut seen = 0;
    for expected in SmapsEntries::new(text) {
        match (expected, reader.next_entry()) {
            (Ok(expected), Ok(Some(found))) => assert_eq!(expected, found),
            (Err(expected), Err(found)) => assert_eq!(expected.to_string(), found.to_string()),
            (expected, found) => panic!("{expected:?} and {found:?}"),
        }
        if let Ok(entry) = expected {
            // Read alone, nothing is remembered from the entries before.
            assert_eq!(SmapsEntries::new(entry.text).next(), Some(Ok(entry)));
            let wanted = some.next().expect("as many entries").expect("fewer checks");
            assert_eq!(
                wanted.counters.get(Counter::Swap),
                entry.counters.get(Counter::Swap)
            );
            assert_eq!((wanted.flags, wanted.text), (entry.flags, entry.text));
            assert!(text[seen..].starts_with(entry.text));
            seen += entry.text.len();
            if let Some(flags) = entry.flags {
                let mut again = Vec::new();
                flags.to_set().write_text(&mut again);
                assert_eq!(again, flags.text());
            }
        } else {
            seen = text.len();
        }
    }
    assert_eq!(seen, text.len());
    let _ = smaps_rollup::parse(text);
});
