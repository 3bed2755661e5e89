use proptest::prelude::*;

use super::super::counters::Counter;
use super::super::smaps_reader::SmapsReader;
use super::super::test_data::SMAPS;
use super::super::vmflags::VmFlag;
use super::*;

/// A plain, slow reader of the same text, to compare with.
fn plainly(entry: &SmapsEntry<'_>, counter: Counter) -> Option<u64> {
    let value = entry
        .fields()
        .filter(|(key, _)| *key == counter.key().as_bytes())
        .last()?
        .1;
    std::str::from_utf8(value)
        .unwrap()
        .strip_suffix(" kB")
        .unwrap()
        .trim()
        .parse()
        .ok()
}

fn all(text: &[u8]) -> Vec<SmapsEntry<'_>> {
    SmapsEntries::new(text).map(Result::unwrap).collect()
}

#[test]
fn a_captured_file() {
    let entries = all(SMAPS);
    assert_eq!(entries.len(), 4);
    let [file, heap, huge, vsyscall] = entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!(file.vma.name, b"/usr/bin/cat");
    assert_eq!(
        (
            file.counters.size(),
            file.counters.rss(),
            file.counters.private_clean()
        ),
        (8, 8, 8)
    );
    assert_eq!(file.thp_eligible, ThpEligible::No);
    assert_eq!(file.protection_key, None);
    assert_eq!(file.flags.unwrap().text(), b"rd mr mw me ");
    assert_eq!(heap.protection_key, Some(3));
    assert_eq!(heap.flags.unwrap().unknown().collect::<Vec<_>>(), [b"zq"]);
    assert_eq!(heap.field(b"NewCounter"), Some(&b"17 kB"[..]));
    assert_eq!(huge.counters.size(), 1_073_741_824);
    assert_eq!(huge.counters.anon_huge_pages(), 123_456_789);
    assert_eq!(huge.thp_eligible, ThpEligible::Yes);
    assert!(huge.flags.unwrap().has(VmFlag::HugePage));
    assert_eq!(vsyscall.flags.unwrap().text(), b"ex ");
    let text: Vec<u8> = entries
        .iter()
        .flat_map(|entry| entry.text)
        .copied()
        .collect();
    assert_eq!(text, SMAPS);
    for entry in &entries {
        for &counter in Counter::ALL {
            assert_eq!(
                entry.counters.get(counter),
                plainly(entry, counter),
                "{counter:?}"
            );
        }
    }
}

#[test]
fn only_what_is_wanted() {
    let want = Want::NONE.and(Counter::AnonHugePages).and(Counter::Locked);
    for (some, full) in SmapsEntries::with(SMAPS, want)
        .map(Result::unwrap)
        .zip(all(SMAPS))
    {
        assert_eq!(some.counters.get(Counter::Rss), None);
        assert_eq!(some.counters.iter().count(), 2);
        assert_eq!(
            some.counters.anon_huge_pages(),
            full.counters.anon_huge_pages()
        );
        assert_eq!(some.flags, full.flags);
        assert_eq!(some.text, full.text);
    }
}

#[test]
fn eligibility_has_more_than_two_values() {
    let head = "1000-2000 rw-p 00000000 00:00 0 \n";
    for (line, value) in [
        ("", ThpEligible::Absent),
        ("THPeligible:           0\n", ThpEligible::No),
        ("THPeligible:    1\n", ThpEligible::Yes),
        ("THPeligible:           7\n", ThpEligible::Other(7)),
    ] {
        let text = format!("{head}{line}");
        assert_eq!(all(text.as_bytes())[0].thp_eligible, value);
    }
}

#[test]
fn errors_name_the_line_and_end_the_walk() {
    let text = SMAPS.to_vec();
    let at = memchr::memmem::find(&text, b"THPeligible:           1").unwrap();
    let line = text[..at].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
    for (bad, kind) in [
        (
            &b"THPeligible:           x"[..],
            Malformed::NotANumber("THPeligible"),
        ),
        (b"Rss:             12345678", Malformed::Unit("Rss")),
        (b"Rss:                 - kB", Malformed::NotANumber("Rss")),
    ] {
        let mut text = text.clone();
        text.splice(at..at + bad.len().min(24), bad.iter().copied());
        let mut entries = SmapsEntries::new(&text).skip_while(Result::is_ok);
        assert_eq!(entries.next(), Some(Err(ParseError { line, kind })));
        assert_eq!(entries.next(), None);
        let mut reader = SmapsReader::new(&text[..]);
        let error = loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no error"),
                Err(error) => break error.to_string(),
            }
        };
        assert_eq!(error, ParseError { line, kind }.to_string());
        assert!(reader.next_entry().unwrap().is_none());
    }
    assert!(SmapsEntries::new(b"Rss:   4 kB\n").next().unwrap().is_err());
}

#[test]
fn a_line_in_the_place_of_another_is_not_misread() {
    // The second entry lacks a line, has two swapped, and has one in a wider column.
    let text = b"1000-2000 rw-p 00000000 00:00 0 \n\
        Rss:                   8 kB\nPss:                   4 kB\nSwap:                  2 kB\n\
        2000-3000 rw-p 00000000 00:00 0 \n\
        Pss:                   9 kB\nRss:           123456789 kB\nLocked:               16 kB\n\
        3000-4000 rw-p 00000000 00:00 0 \n\
        Swap:                  1 kB\n";
    let entries = all(text);
    assert_eq!(
        entries[1].counters.iter().collect::<Vec<_>>(),
        [
            (Counter::Rss, 123_456_789),
            (Counter::Pss, 9),
            (Counter::Locked, 16)
        ]
    );
    assert_eq!(
        entries[2].counters.iter().collect::<Vec<_>>(),
        [(Counter::Swap, 1)]
    );
}

#[test]
fn a_stream_longer_than_the_buffer() {
    let text = SMAPS.repeat(1000);
    let mut places = 0;
    let mut entries = SmapsEntries::new(&text);
    let mut reader = SmapsReader::new(&text[..]);
    while let Some(entry) = reader.next_entry().unwrap() {
        assert_eq!(entries.next().unwrap().unwrap(), entry);
        places += 1;
    }
    assert_eq!(places, 4000);
    assert!(entries.next().is_none());
}

/// Lines that are nearly what the kernel writes.
fn any_line() -> impl Strategy<Value = String> {
    let counter = prop::sample::select(Counter::ALL);
    let padded = (
        counter.clone(),
        0_u64..1 << 40,
        prop::sample::select(vec![1_usize, 8, 9]),
    );
    prop_oneof![
        6 => padded.prop_map(|(counter, kb, width)| format!("{:16}{kb:width$} kB\n", format!("{}:", counter.key()))),
        1 => counter.prop_map(|counter| format!("{}: -1 kB\n", counter.key())),
        1 => (0_u32..3).prop_map(|value| format!("THPeligible:    {value:8}\n")),
        1 => (0_u32..16).prop_map(|value| format!("ProtectionKey:  {value:8}\n")),
        2 => "VmFlags: ([a-z]{2} ){0,8}\n",
        2 => "[0-9a-f]{1,8}-[0-9a-f]{8} rw-p 00000000 00:00 0 [a-z]{0,8}\n",
        1 => "[A-Za-z_]{1,14}:[ 0-9kB]{0,16}\n?",
        1 => "[ -~]{0,30}\n",
    ]
}

proptest! {
    #[test]
    fn slice_and_stream_agree(lines in proptest::collection::vec(any_line(), 0..60)) {
        let text = format!("1000-2000 rw-p 00000000 00:00 0 \n{}", lines.concat()).into_bytes();
        let mut reader = SmapsReader::new(&text[..]);
        for expected in SmapsEntries::new(&text) {
            match (expected, reader.next_entry()) {
                (Ok(expected), Ok(Some(found))) => prop_assert_eq!(expected, found),
                (Err(expected), Err(found)) => prop_assert_eq!(expected.to_string(), found.to_string()),
                (expected, found) => prop_assert!(false, "{:?} and {:?}", expected, found),
            }
        }
        prop_assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn what_was_seen_before_changes_nothing(lines in proptest::collection::vec(any_line(), 0..60)) {
        let text = format!("1000-2000 rw-p 00000000 00:00 0 \n{}", lines.concat()).into_bytes();
        for entry in SmapsEntries::new(&text).map_while(Result::ok) {
            // Alone, the entry is read without anything remembered.
            let alone = SmapsEntries::new(entry.text).next().unwrap();
            prop_assert_eq!(alone, Ok(entry));
        }
    }

    #[test]
    fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..512)) {
        SmapsEntries::new(&text).for_each(drop);
    }

    #[test]
    fn never_panics_on_damaged_text(at in 0..SMAPS.len(), byte in any::<u8>(), cut in 0..SMAPS.len()) {
        let mut text = SMAPS.to_vec();
        text[at] = byte;
        SmapsEntries::new(&text[cut..]).for_each(drop);
        SmapsEntries::new(&text[..cut]).for_each(drop);
    }
}
