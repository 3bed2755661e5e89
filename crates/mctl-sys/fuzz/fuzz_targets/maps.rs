//! Any bytes: slice and stream agree, and what was parsed can be written and parsed again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mctl_sys::procfs::ReadError;
use mctl_sys::procfs::maps::{MapLine, MapLines, MapsReader};

fuzz_target!(|text: &[u8]| {
    let mut reader = MapsReader::new(text);
    for expected in MapLines::new(text) {
        match (expected, reader.next_line()) {
            (Ok(expected), Ok(Some(found))) => assert_eq!(expected, found),
            (Err(expected), Err(ReadError::Parse(found))) => assert_eq!(expected, found),
            (expected, found) => panic!("{expected:?} and {found:?}"),
        }
        if let Ok(vma) = expected {
            let mut line = Vec::new();
            vma.write_line(&mut line).expect("memory takes all");
            assert_eq!(MapLine::parse(&line), Ok(vma));
        }
    }
    assert!(reader.next_line().expect("the end").is_none());
});
