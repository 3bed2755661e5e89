use proptest::prelude::*;

use super::super::test_data::MAPS;
use super::*;

fn rebuilt(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for vma in MapLines::new(text) {
        vma.unwrap().write_line(&mut out).unwrap();
    }
    out
}

/// Gives out a few bytes at a time, as `/proc` does.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(self.0.len()).min(out.len());
        let (head, tail) = self.0.split_at(count);
        out[..count].copy_from_slice(head);
        self.0 = tail;
        Ok(count)
    }
}

#[test]
fn a_captured_file() {
    let all: Vec<_> = MapLines::new(MAPS).map(Result::unwrap).collect();
    assert_eq!(all.len(), 8);
    let first = all[0];
    assert_eq!(
        (first.start, first.end),
        (0x55b1_3fad_9000, 0x55b1_3fad_b000)
    );
    assert_eq!((first.offset, first.inode, first.len()), (0, 247_030, 8192));
    assert_eq!(
        first.dev,
        Dev {
            major: 0xfe,
            minor: 0
        }
    );
    assert_eq!(
        (first.perms.letters(), first.name),
        (*b"r--p", &b"/usr/bin/cat"[..])
    );
    assert_eq!(all[2].name, b"");
    assert_eq!(all[3].name, br"/tmp/a b\012c (deleted)");
    assert!(all[3].has_deleted_mark() && all[3].perms.shared);
    assert_eq!(all[4].name, b"[anon:two words]");
    assert_eq!(all[5].name, b"/tmp/caf\xe9");
    assert_eq!(all[7].name, b"[vsyscall]");
    assert_eq!(rebuilt(MAPS), MAPS);
}

#[test]
fn errors_have_line_numbers_and_the_walk_goes_on() {
    let text =
        b"1000-2000 rw-p 0 0:0 0 \nrubbish\n\n3000-2000 rw-p 0 0:0 0 \n3000-4000 rw-p 0 0:0 0 ";
    let all: Vec<_> = MapLines::new(text).collect();
    assert_eq!(all.len(), 5);
    assert!(all[0].is_ok() && all[4].is_ok());
    let kinds = [
        Malformed::NotANumber("start address"),
        Malformed::Missing("start address"),
        Malformed::Reversed,
    ];
    for (place, kind) in kinds.into_iter().enumerate() {
        assert_eq!(
            all[place + 1],
            Err(ParseError {
                line: place as u64 + 2,
                kind
            })
        );
    }
}

#[test]
fn each_field_is_checked() {
    for (line, kind) in [
        (
            &b"1000 2000 rw-p 0 0:0 0 "[..],
            Malformed::Separator("start address"),
        ),
        (
            b"10000000000000000-2 rw-p 0 0:0 0 ",
            Malformed::TooLarge("start address"),
        ),
        (b"1-2 rwzp 0 0:0 0 ", Malformed::Unexpected("permissions")),
        (b"1-2 rw-p0 0:0 0 ", Malformed::Separator("permissions")),
        (b"1-2 rw", Malformed::Missing("permissions")),
        (b"1-2 rw-p x 0:0 0 ", Malformed::NotANumber("offset")),
        (
            b"1-2 rw-p 0 100000000:0 0 ",
            Malformed::TooLarge("device major"),
        ),
        (
            b"1-2 rw-p 0 0:0 18446744073709551616 ",
            Malformed::TooLarge("inode"),
        ),
        (b"1-2 rw-p 0 0:0 7", Malformed::Separator("inode")),
    ] {
        assert_eq!(MapLine::parse(line), Err(kind));
    }
}

#[test]
fn a_stream_gives_the_same() {
    for step in [1, 7, 4096] {
        let mut reader = MapsReader::new(Dribble(MAPS, step));
        let mut out = Vec::new();
        while let Some(vma) = reader.next_line().unwrap() {
            vma.write_line(&mut out).unwrap();
        }
        assert_eq!(out, MAPS);
        assert!(reader.next_line().unwrap().is_none());
    }
}

#[test]
fn a_stream_without_an_end_of_line_is_bounded() {
    let mut reader = MapsReader::new(io::repeat(b'x'));
    let error = reader.next_line().unwrap_err();
    assert!(
        matches!(error, ReadError::TooLong { line: 1, .. }),
        "{error}"
    );
}

#[test]
fn a_stream_longer_than_the_buffer() {
    let text = MAPS.repeat(2000);
    let mut reader = MapsReader::new(&text[..]);
    let mut count = 0;
    while reader.next_line().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 16_000);
}

prop_compose! {
    fn any_name()(name in proptest::collection::vec(any::<u8>(), 0..200)) -> Vec<u8> {
        // The kernel escapes newlines, and no name of its begins with a space.
        let name: Vec<u8> = name.into_iter().filter(|&byte| byte != b'\n').collect();
        let blanks = name.iter().take_while(|&&byte| byte == b' ').count();
        name[blanks..].to_vec()
    }
}

prop_compose! {
    fn any_vma()(
        addresses in any::<(u64, u64)>(),
        (read, write, exec, shared) in any::<(bool, bool, bool, bool)>(),
        (offset, major, minor, inode) in any::<(u64, u32, u32, u64)>(),
    ) -> MapLine<'static> {
        let (start, end) = (addresses.0.min(addresses.1), addresses.0.max(addresses.1));
        let perms = Perms { read, write, exec, shared };
        MapLine { start, end, perms, offset, dev: Dev { major, minor }, inode, name: b"" }
    }
}

proptest! {
    #[test]
    fn lines_round_trip(vma in any_vma(), name in any_name()) {
        let vma = MapLine { name: &name, ..vma };
        let mut text = Vec::new();
        vma.write_line(&mut text).unwrap();
        prop_assert_eq!(MapLine::parse(&text), Ok(vma));
        prop_assert_eq!(rebuilt(&text), text);
    }

    #[test]
    fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..256)) {
        MapLines::new(&text).for_each(drop);
    }

    #[test]
    fn never_panics_on_damaged_text(at in 0..MAPS.len(), byte in any::<u8>(), cut in 0..MAPS.len()) {
        let mut text = MAPS.to_vec();
        text[at] = byte;
        MapLines::new(&text[cut..]).for_each(drop);
        MapLines::new(&text[..cut]).for_each(drop);
    }

    #[test]
    fn slice_and_stream_agree(lines in proptest::collection::vec("[0-9a-f]{0,4}[- a-z:0]{0,40}\n?", 0..20), step in 1_usize..50) {
        let text = lines.concat().into_bytes();
        let mut reader = MapsReader::new(Dribble(&text, step));
        for expected in MapLines::new(&text) {
            match (expected, reader.next_line()) {
                (Ok(expected), Ok(Some(found))) => prop_assert_eq!(expected, found),
                (Err(expected), Err(ReadError::Parse(found))) => prop_assert_eq!(expected, found),
                (expected, found) => prop_assert!(false, "{:?} and {:?}", expected, found),
            }
        }
        prop_assert!(reader.next_line().unwrap().is_none());
    }

    /// All at once, each way, is what one by one is: up to the first line that is wrong.
    #[test]
    fn all_at_once(vmas in proptest::collection::vec(any_vma(), 0..40), bad in 0_usize..80, step in 1_usize..500) {
        let mut text = Vec::new();
        for (at, vma) in vmas.iter().enumerate() {
            if at == bad {
                text.extend_from_slice(b"rubbish\n");
            }
            vma.write_line(&mut text).unwrap();
        }
        let mut expected = Vec::new();
        let mut reader = MapsReader::new(Dribble(&text, step));
        let error = loop {
            match reader.next_line() {
                Ok(Some(vma)) => expected.push((vma.start, vma.end)),
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        prop_assert_eq!(error.is_some(), bad < vmas.len());
        let (mut lines, mut spans) = (Vec::new(), Vec::new());
        let ended = MapsReader::new(Dribble(&text, step)).each_line(|vma| lines.push((vma.start, vma.end)));
        prop_assert_eq!(ended.err().map(|e| e.to_string()), error.clone());
        let ended = MapsReader::new(Dribble(&text, step)).each_span(|start, end| spans.push((start, end)));
        prop_assert_eq!(ended.err().map(|e| e.to_string()), error);
        prop_assert_eq!(&lines, &expected);
        prop_assert_eq!(&spans, &expected);
    }
}
