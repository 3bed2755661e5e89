//! Memory of a fixture, made and looked at.

use mctl_testkit::Fixture;

/// Asks `touch` for memory (`map`, `memfd`, `file` with their arguments) and writes to all of it.
pub(crate) fn populated(fixture: &mut Fixture, ask: &str) -> (String, String) {
    let (start, len) = mapped(fixture, ask);
    assert_eq!(fixture.ask(&format!("touch {start} {len}")).unwrap(), "ok");
    (start, len)
}

/// The same, not written to.
pub(crate) fn mapped(fixture: &mut Fixture, ask: &str) -> (String, String) {
    let answer = fixture.ask(ask).unwrap();
    let words: Vec<&str> = answer.split(' ').collect();
    assert_eq!(words[0], "map", "{answer}");
    (words[1].to_owned(), words[2].to_owned())
}

/// A line of that mapping in smaps, in KiB.
pub(crate) fn kib(fixture: &mut Fixture, start: &str, key: &str) -> u64 {
    let answer = fixture.ask(&format!("smaps {start} {key}")).unwrap();
    answer.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The VmFlags of that mapping.
pub(crate) fn flags(fixture: &mut Fixture, start: &str) -> String {
    fixture.ask(&format!("smaps {start} VmFlags")).unwrap()
}

/// `START+LENGTH` for `--range`.
pub(crate) fn range(start: &str, len: &str) -> String {
    let plain = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    };
    format!("{:#x}+{}", plain(start), plain(len))
}
