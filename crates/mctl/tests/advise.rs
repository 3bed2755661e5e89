//! docs/CONTRACT.md#3-process_madvise-extended, sentence by sentence, on real processes; and the same as plain madvise(2) or
//! process_madvise(2) where the kernel has an answer, so that we differ from it only where the
//! contract says so. Entries, gaps, failures and sizes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic")]

mod advise_common;

use advise_common::*;
use mctl::Errno;
use mctl::advise::{Advice, Advise, P_PID, Range, process_madvise};
use mctl_testkit::{Fixture, require_root, start};

#[test]
fn entries_as_the_kernel_answers_and_as_we_do() {
    require_root!();
    let mut f = start!("touch");
    let base = stretch(&mut f);
    let at = |page: u64, pages: u64| range(base + page * PAGE, pages);
    let inval: Result<u64, Errno> = Err(Errno::EINVAL);
    let nomem: Result<u64, Errno> = Err(Errno::ENOMEM);
    let pages = |n: u64| -> Result<u64, Errno> { Ok(n * PAGE) };
    let wrapping = Range {
        start: u64::MAX - PAGE + 1,
        len: 2 * PAGE,
    };
    let odd = Range {
        start: base + 1,
        len: PAGE,
    };
    let short = Range {
        start: base,
        len: 100,
    };
    // Entries, what the kernel answers without flags, ours with NONE, GAPS and SKIP.
    type Case<'a> = (&'a str, Vec<Range>, [Result<u64, Errno>; 4]);
    let cases: Vec<Case<'_>> = vec![
        ("no entry", vec![], [pages(0); 4]),
        ("one", vec![at(0, 16)], [pages(16); 4]),
        ("two in order", vec![at(24, 4), at(0, 4)], [pages(8); 4]),
        ("the same twice", vec![at(0, 4), at(0, 4)], [pages(8); 4]),
        ("overlapping", vec![at(0, 4), at(2, 4)], [pages(8); 4]),
        ("length 0", vec![at(0, 0)], [pages(0); 4]),
        ("length 0 in a gap", vec![at(16, 0)], [pages(0); 4]),
        ("length 0 and one", vec![at(0, 0), at(0, 1)], [pages(1); 4]),
        ("not whole pages", vec![short], [Ok(100); 4]),
        (
            "leading gap",
            vec![at(16, 16)],
            [nomem, nomem, pages(16), pages(16)],
        ),
        (
            "inner gap",
            vec![at(8, 24)],
            [nomem, nomem, pages(24), pages(24)],
        ),
        (
            "trailing gap",
            vec![at(0, 20)],
            [nomem, nomem, pages(20), pages(20)],
        ),
        (
            "trailing gap, last",
            vec![at(48, 20)],
            [nomem, nomem, pages(20), pages(20)],
        ),
        (
            "only a gap",
            vec![at(16, 8)],
            [nomem, nomem, pages(8), pages(8)],
        ),
        (
            "gap second",
            vec![at(0, 4), at(16, 4)],
            [pages(4), pages(4), pages(8), pages(8)],
        ),
        (
            "gap, then one",
            vec![at(16, 4), at(0, 4)],
            [nomem, nomem, pages(8), pages(8)],
        ),
        (
            "empty, then a gap",
            vec![at(0, 0), at(16, 4)],
            [nomem, nomem, pages(4), pages(4)],
        ),
        // A locked mapping cannot be made cold. SKIP passes over it; its entry does not count.
        ("locked", vec![at(40, 8)], [inval, inval, inval, pages(0)]),
        (
            "locked in the middle",
            vec![at(24, 40)],
            [inval, inval, inval, pages(0)],
        ),
        (
            "locked second",
            vec![at(24, 4), at(40, 8), at(48, 4)],
            [pages(4), pages(4), pages(4), pages(8)],
        ),
        (
            "locked and a gap",
            vec![at(0, 64)],
            [inval, inval, inval, pages(0)],
        ),
        ("unaligned", vec![odd], [inval; 4]),
        (
            "unaligned second",
            vec![at(0, 2), odd, at(2, 2)],
            [pages(2); 4],
        ),
        // The kernel checks the whole list first; ours stops where it comes to it.
        (
            "wrapping",
            vec![wrapping],
            [Err(Errno::EFAULT), inval, inval, inval],
        ),
        (
            "wrapping second",
            vec![at(0, 2), wrapping],
            [Err(Errno::EFAULT), pages(2), pages(2), pages(2)],
        ),
        (
            "reversed",
            vec![Range {
                start: base,
                len: PAGE.wrapping_neg(),
            }],
            [inval; 4],
        ),
        (
            "kernel's half, second",
            vec![at(0, 2), range(1 << 60, 1)],
            [Err(Errno::EFAULT), pages(2), pages(3), pages(3)],
        ),
    ];
    let mut failures = Vec::new();
    for (name, entries, wanted) in cases {
        let got = [
            theirs(&f, &entries, Advice::COLD),
            ours(&f, &entries, Advice::COLD, NONE),
            ours(&f, &entries, Advice::COLD, GAPS),
            ours(&f, &entries, Advice::COLD, SKIP),
        ];
        if got != wanted {
            failures.push(format!("{name}: {got:?} instead of {wanted:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    f.finish().unwrap().assert_clean(1);
}

/// HUGEPAGE is seen in VmFlags: exactly what is mapped carries it, whatever the gaps.
#[test]
fn an_entry_with_a_gap_is_carried_out_on_what_is_mapped() {
    let by_us = |f: &mut Fixture, entry: Range, flags| ours(f, &[entry], Advice::HUGEPAGE, flags);
    let by_kernel = |f: &mut Fixture, entry: Range, _: u32| {
        let command = format!("advise {:#x} {} 14", entry.start, entry.len);
        match f.ask(&command).unwrap().as_str() {
            "ok" => Ok(entry.len),
            error => Err(Errno::from_raw(
                error.strip_prefix("error ").unwrap().parse().unwrap(),
            )),
        }
    };
    type How<'a> = &'a dyn Fn(&mut Fixture, Range, u32) -> Result<u64, Errno>;
    let ways: [(&str, How<'_>); 2] = [("ours", &by_us), ("madvise", &by_kernel)];
    for (name, how) in ways {
        for (start, pages) in [(16, 16), (8, 24), (0, 20), (0, 64)] {
            for flags in [NONE, GAPS, SKIP] {
                if name == "madvise" && flags != NONE {
                    continue;
                }
                let mut f = start!("touch");
                let base = stretch(&mut f);
                let entry = range(base + start * PAGE, pages);
                let wanted = if flags == NONE {
                    Err(Errno::ENOMEM)
                } else {
                    Ok(entry.len)
                };
                assert_eq!(
                    how(&mut f, entry, flags),
                    wanted,
                    "{name} {start}+{pages} {flags}"
                );
                for page in (0..64).filter(|page| !(16..24).contains(page)) {
                    let inside = (start..start + pages).contains(&page);
                    let has = flags_at(&mut f, base + page * PAGE).contains(" hg");
                    assert_eq!(has, inside, "{name} {start}+{pages} {flags}: page {page}");
                }
            }
        }
    }
}

#[test]
fn more_entries_and_bytes_than_the_kernel_takes() {
    require_root!();
    let mut f = start!("touch");
    let base = map(&mut f, 4 << 20);
    let count = 1_000_000 / mctl_testkit::slower();
    let entries: Vec<Range> = (0..count)
        .map(|n| range(base + n % 1024 * PAGE, 1))
        .collect();
    assert_eq!(
        theirs(&f, &entries[..1025], Advice::COLD),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        ours(&f, &entries[..1025], Advice::COLD, NONE),
        Ok(1025 * PAGE)
    );
    for flags in [NONE, GAPS, SKIP] {
        assert_eq!(ours(&f, &entries, Advice::COLD, flags), Ok(count * PAGE));
    }
    // Injected as well.
    let some = 20_000 / mctl_testkit::slower();
    let few = &entries[..usize::try_from(some).unwrap()];
    assert_eq!(ours(&f, few, Advice::DODUMP, NONE), Ok(some * PAGE));
    // More bytes than a call carries out: the kernel stops silently, we do not.
    let large = 6u64 << 30;
    let base = map(&mut f, large);
    let entry = Range {
        start: base,
        len: large,
    };
    assert_eq!(theirs(&f, &[entry], Advice::COLD), Ok(0x7fff_f000));
    for advice in [Advice::COLD, Advice::HUGEPAGE] {
        for flags in [NONE, GAPS, SKIP] {
            assert_eq!(
                ours(&f, &[entry, entry], advice, flags),
                Ok(2 * large),
                "{advice}"
            );
        }
    }
    assert!(flags_at(&mut f, base + large - PAGE).contains(" hg"));
}

#[test]
fn the_entire_address_space() {
    require_root!();
    let mut f = start!("touch");
    let base = stretch(&mut f);
    let entire = |flags| process_madvise(P_PID, f.pid(), None, Advice::COLD, ENTIRE | flags);
    // Gaps are no error, nor is [vvar], which is in every process; the locked mapping is one,
    // unless it is passed over.
    let short = entire(NONE).map_err(|e| e.errno()).unwrap();
    let skipping = entire(SKIP).map_err(|e| e.errno()).unwrap();
    assert!(0 < short && short < skipping, "{short} {skipping}");
    assert!(skipping < 1 << 40, "{skipping} bytes of mapped memory");
    let target = target(&f);
    let advised = Advise::new(Advice::COLD)
        .entire_address_space()
        .skip_errors()
        .give(&target);
    let advised = advised.unwrap();
    assert_eq!(advised.entries.len(), 1);
    let locked = advised
        .skipped
        .iter()
        .find(|skip| skip.start == base + 40 * PAGE);
    assert_eq!(
        locked.map(|skip| (skip.len, skip.errno)),
        Some((8 * PAGE, Errno::EINVAL))
    );
    assert!(advised.advised > 100 * PAGE);
    // Injected: a flag on everything there is.
    let advised = Advise::new(Advice::NOHUGEPAGE)
        .entire_address_space()
        .give(&target)
        .unwrap();
    assert!(advised.is_complete(), "{advised:?}");
    for page in (0..64).filter(|page| !(16..24).contains(page)) {
        assert!(
            flags_at(&mut f, base + page * PAGE).contains(" nh"),
            "page {page}"
        );
    }
    ok(&mut f, &format!("check {base:#x} {}", 16 * PAGE));
    f.finish().unwrap().assert_clean(1);
}

#[test]
fn entries_one_by_one_in_the_result() {
    require_root!();
    let mut f = start!("touch");
    let base = stretch(&mut f);
    let ranges = vec![
        range(base, 4),
        range(base + 24 * PAGE, 40),
        range(base + 56 * PAGE, 2),
    ];
    let target = target(&f);
    let advised = Advise::new(Advice::PAGEOUT)
        .ranges(ranges.clone())
        .skip_errors()
        .give(&target);
    let advised = advised.unwrap();
    let summary: Vec<(u64, u64, bool)> = advised
        .entries
        .iter()
        .map(|e| (e.advised / PAGE, e.skipped, e.done))
        .collect();
    assert_eq!(summary, [(4, 0, true), (32, 1, true), (2, 0, true)]);
    assert_eq!((advised.bytes, advised.skipped_total), (6 * PAGE, 1));
    let advised = Advise::new(Advice::PAGEOUT)
        .ranges(ranges)
        .give(&target)
        .unwrap();
    let errors: Vec<Option<Errno>> = advised.entries.iter().map(|e| e.error).collect();
    assert_eq!(errors, [None, Some(Errno::EINVAL), None]);
    assert!(advised.entries[0].done && !advised.entries[2].done);
    let json = serde_json::to_value(&advised).unwrap();
    assert_eq!(json["entries"][1]["error"], "EINVAL", "{json}");
    assert_eq!(json["way"], "remote");
}
