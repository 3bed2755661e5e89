//! Mistakes in scenarios are told with line, column and what was expected.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stop where a test would"
)]

use mctl_conformance::lang::{SyntaxError, parse};
use proptest::prelude::*;

fn wrong(text: &str) -> SyntaxError {
    parse(text).expect_err("it is wrong")
}

#[test]
fn errors_say_where_and_what() {
    for (text, line, column, expected, found) in [
        ("spwan p", 1, 1, "`case`", "`spwan`"),
        ("spawn p\np mapp a 4M", 2, 3, "a verb", "`mapp`"),
        ("spawn p\np map a 4X", 2, 9, "a size", "`4X`"),
        ("spawn p\np map a", 2, 8, "a size", "the end of the line"),
        (
            "spawn p\np madvise b 4K hugepage",
            2,
            11,
            "an address",
            "`b`",
        ),
        (
            "spawn p\np map a 4K\np madvise a 4K huge",
            3,
            16,
            "an advice",
            "`huge`",
        ),
        (
            "spawn p\np unlockall extra",
            2,
            13,
            "the end of the line",
            "`extra`",
        ),
        (
            "spawn p\np unlockall -> EWHAT",
            2,
            16,
            "an errno",
            "`EWHAT`",
        ),
        (
            "case \"open",
            1,
            11,
            "a closing quote",
            "the end of the line",
        ),
        ("host thp=sometimes", 1, 10, "`always`", "`sometimes`"),
        ("host has=wings", 1, 10, "guard-regions", "`wings`"),
        (
            "spawn p\nexpect p vma 0x1000 zz",
            2,
            21,
            "two letters",
            "`zz`",
        ),
        ("spawn heap", 1, 7, "the name of a task", "`heap`"),
    ] {
        let error = wrong(text);
        assert_eq!(
            (error.line, error.column),
            (line, column),
            "{text:?}: {error}"
        );
        assert!(error.expected.contains(expected), "{text:?}: {error}");
        assert_eq!(error.found, found, "{text:?}");
    }
}

#[test]
fn comments_and_blank_lines_are_no_steps() {
    let scenario = parse("# a comment\n\nspawn p # begins here\n   \np unlockall").expect("right");
    assert_eq!(scenario.lines.len(), 2);
    assert_eq!(scenario.lines[1].number, 5);
}

proptest! {
    /// Any text is either a scenario or a mistake; never a panic.
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    /// The same for text made of the language's own words.
    #[test]
    fn any_words_are_answered(words in proptest::collection::vec(
        prop_oneof![
            Just("spawn"), Just("p"), Just("map"), Just("a"), Just("4M"), Just("\n"), Just("->"),
            Just("expect"), Just("mctl"), Just("self"), Just("madvise"), Just("uid=7"),
            Just("max"), Just("pmadvise"), Just("flags=trio"), Just("0xffffffffffffffff"),
            Just("remap"), Just("touch"), Just("write"), Just("fork"), Just("lock"), Just("EINVAL"),
        ], 0..40)) {
        let _ = parse(&words.join(" "));
    }
}
