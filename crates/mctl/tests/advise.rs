//! The contract's §3, sentence by sentence, on real processes; and the same as plain madvise(2) or
//! process_madvise(2) where the kernel has an answer, so that we differ from it only where the
//! contract says so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic")]

use std::os::fd::AsRawFd;

use mctl::advise::{Advice, Advise, P_PID, P_PIDFD, PmadvFlags, Range, Selection, process_madvise};
use mctl::{Errno, Target};
use mctl_sys::raw::madvise::process_madvise as kernel;
use mctl_testkit::{Fixture, require_root, start};

const PAGE: u64 = 4096;
const NONE: u32 = 0;
const SKIP: u32 = 1;
const GAPS: u32 = 2;
const DEFAULT: u32 = 4;
const ENTIRE: u32 = 8;

fn target(f: &Fixture) -> Target {
    Target::open(f.pid().to_string().parse().unwrap()).unwrap()
}

fn ok(f: &mut Fixture, command: &str) {
    assert_eq!(f.ask(command).unwrap(), "ok", "{command}");
}

fn map(f: &mut Fixture, len: u64) -> u64 {
    let answer = f.ask(&format!("map {len}")).unwrap();
    let mut words = answer.split(' ');
    assert_eq!(words.next(), Some("map"), "{answer}");
    u64::from_str_radix(words.next().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn flags_at(f: &mut Fixture, address: u64) -> String {
    f.ask(&format!("smaps {address:#x} VmFlags")).unwrap()
}

fn range(start: u64, pages: u64) -> Range {
    Range {
        start,
        len: pages * PAGE,
    }
}

/// Ours, by process number, as the C ABI gives it.
fn ours(f: &Fixture, ranges: &[Range], advice: Advice, flags: u32) -> Result<u64, Errno> {
    process_madvise(P_PID, f.pid(), Some(ranges), advice, flags).map_err(|error| error.errno())
}

fn theirs(f: &Fixture, ranges: &[Range], advice: Advice) -> Result<u64, Errno> {
    kernel(f.pidfd(), ranges, advice.number())
}

/// A stretch of 64 touched pages: pages 16 to 23 unmapped, 40 to 47 locked.
///
/// ```text
/// 0        16     24        40       48        64
/// | mapped | gap  | mapped  | locked | mapped  | gap …
/// ```
fn stretch(f: &mut Fixture) -> u64 {
    let base = map(f, 512 * PAGE);
    ok(f, &format!("unmap {:#x} {}", base + 64 * PAGE, 448 * PAGE));
    ok(f, &format!("touch {base:#x} {}", 64 * PAGE));
    ok(f, &format!("unmap {:#x} {}", base + 16 * PAGE, 8 * PAGE));
    ok(f, &format!("lock {:#x} {}", base + 40 * PAGE, 8 * PAGE));
    base
}

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
    let entries: Vec<Range> = (0..1_000_000)
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
        assert_eq!(
            ours(&f, &entries, Advice::COLD, flags),
            Ok(1_000_000 * PAGE)
        );
    }
    // Injected as well.
    let some = &entries[..20_000];
    assert_eq!(ours(&f, some, Advice::DODUMP, NONE), Ok(20_000 * PAGE));
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
fn the_arguments_and_the_order_of_their_checks() {
    let f = start!("touch");
    let (pid, bad_fd) = (f.pid(), 1_000_000);
    let some: Option<&[Range]> = Some(&[]);
    let cold = Advice::COLD;
    let dontneed = Advice::DONTNEED;
    let unknown = Advice::from_number(77);
    let cases = [
        ("unknown bit", P_PID, -5, some, cold, 1 << 7, Errno::EINVAL),
        (
            "highest bit",
            P_PID,
            pid,
            some,
            cold,
            1 << 31,
            Errno::EINVAL,
        ),
        (
            "one of the trio",
            P_PID,
            pid,
            some,
            Advice::NOHUGEPAGE,
            1 << 4,
            Errno::EINVAL,
        ),
        (
            "two of the trio",
            P_PID,
            pid,
            some,
            Advice::NOHUGEPAGE,
            3 << 5,
            Errno::EINVAL,
        ),
        (
            "trio, other advice",
            P_PID,
            pid,
            some,
            cold,
            7 << 4,
            Errno::EINVAL,
        ),
        (
            "vlen -1 without ENTIRE",
            P_PID,
            pid,
            None,
            cold,
            NONE,
            Errno::EINVAL,
        ),
        (
            "ENTIRE with a vector",
            P_PID,
            pid,
            some,
            cold,
            ENTIRE,
            Errno::EINVAL,
        ),
        (
            "default of another advice",
            P_PIDFD,
            bad_fd,
            some,
            cold,
            DEFAULT,
            Errno::EINVAL,
        ),
        (
            "unknown advice",
            P_PIDFD,
            bad_fd,
            some,
            unknown,
            NONE,
            Errno::EINVAL,
        ),
        ("idtype P_ALL", 0, pid, some, cold, NONE, Errno::EINVAL),
        ("idtype P_PGID", 2, pid, some, cold, NONE, Errno::EINVAL),
        ("idtype 4", 4, pid, some, cold, NONE, Errno::EINVAL),
        ("idtype -1", -1, pid, some, cold, NONE, Errno::EINVAL),
        (
            "not a descriptor",
            P_PIDFD,
            bad_fd,
            some,
            cold,
            NONE,
            Errno::EBADF,
        ),
        ("descriptor -1", P_PIDFD, -1, some, cold, NONE, Errno::EBADF),
        ("not a pidfd", P_PIDFD, 0, some, cold, NONE, Errno::EBADF),
        (
            "not a pidfd, destructive",
            P_PIDFD,
            0,
            some,
            dontneed,
            NONE,
            Errno::EBADF,
        ),
        ("PID 0", P_PID, 0, some, cold, NONE, Errno::ESRCH),
        ("PID -1", P_PID, -1, some, cold, NONE, Errno::ESRCH),
        (
            "PID of nobody",
            P_PID,
            i32::MAX,
            some,
            cold,
            NONE,
            Errno::ESRCH,
        ),
        (
            "destructive",
            P_PID,
            pid,
            some,
            dontneed,
            NONE,
            Errno::EPERM,
        ),
        (
            "kernel thread",
            P_PID,
            2,
            some,
            Advice::HUGEPAGE,
            NONE,
            Errno::ESRCH,
        ),
    ];
    for (name, idtype, id, ranges, advice, flags, wanted) in cases {
        let got = process_madvise(idtype, id, ranges, advice, flags).map_err(|e| e.errno());
        assert_eq!(got, Err(wanted), "{name}");
    }
    let fd = f.pidfd().as_raw_fd();
    assert_eq!(
        process_madvise(P_PIDFD, fd, Some(&[]), cold, NONE).ok(),
        Some(0)
    );
}

#[test]
fn oneself_by_every_name() {
    let own = i32::try_from(std::process::id()).unwrap();
    let names = [(P_PID, own), (P_PIDFD, -10_000), (P_PIDFD, -10_001)];
    // A stack's neighbourhood will do: these advices keep everything.
    let here = [0u8; 1];
    let address = std::ptr::from_ref(&here).addr() as u64 & !(PAGE - 1);
    for (idtype, id) in names {
        for advice in [
            Advice::COLD,
            Advice::DODUMP,
            Advice::DOFORK,
            Advice::POPULATE_WRITE,
        ] {
            let got = process_madvise(idtype, id, Some(&[range(address, 1)]), advice, NONE);
            assert_eq!(got.map_err(|e| e.errno()), Ok(PAGE), "{id} {advice}");
        }
        for advice in [Advice::DONTNEED, Advice::FREE, Advice::GUARD_INSTALL] {
            let got = process_madvise(idtype, id, Some(&[range(address, 1)]), advice, NONE);
            assert_eq!(
                got.map_err(|e| e.errno()),
                Err(Errno::EPERM),
                "{id} {advice}"
            );
        }
        let got = process_madvise(idtype, id, None, Advice::COLD, ENTIRE | SKIP);
        assert!(got.is_ok(), "{got:?}");
    }
}

#[test]
fn a_dead_process_and_its_number() {
    let f = start!("touch");
    let target = target(&f);
    let pid = f.pid();
    f.signal(rustix::process::Signal::KILL).unwrap();
    while target.is_alive() {
        std::thread::yield_now();
    }
    // A zombie, and after that nobody.
    for advice in [Advice::COLD, Advice::HUGEPAGE] {
        let got = Advise::new(advice)
            .give(&target)
            .map(|a| a.bytes)
            .map_err(|e| e.errno());
        assert_eq!(got, Err(Errno::ESRCH), "{advice}, zombie");
    }
    drop(f);
    for advice in [Advice::COLD, Advice::HUGEPAGE] {
        let got = Advise::new(advice).entire_address_space().give(&target);
        assert_eq!(got.map_err(|e| e.errno()).unwrap_err(), Errno::ESRCH);
    }
    let other = start!("touch");
    // Whoever has the number: an inode that is not his never finds him.
    let spec = format!("{}:{}", other.pid(), 1).parse().unwrap();
    let got = Target::open(spec).map(|t| t.pid()).map_err(|e| e.errno());
    assert!(
        matches!(got, Err(Errno::ESRCH | Errno::EOPNOTSUPP)),
        "{got:?} {pid}"
    );
}

#[test]
fn the_entire_address_space() {
    require_root!();
    let mut f = start!("touch");
    let base = stretch(&mut f);
    let entire = |flags| process_madvise(P_PID, f.pid(), None, Advice::COLD, ENTIRE | flags);
    // Gaps are no error; the locked mapping is, unless it is passed over.
    assert_eq!(entire(NONE).map_err(|e| e.errno()), Err(Errno::EINVAL));
    assert_eq!(
        entire(SKIP).map_err(|e| e.errno()),
        Ok(0),
        "the one entry had a skip in it"
    );
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

#[test]
fn a_process_whose_first_thread_has_exited() {
    let f = start!("leader_exit");
    let target = target(&f);
    for advice in [Advice::COLD, Advice::DODUMP] {
        let advised = Advise::new(advice)
            .entire_address_space()
            .skip_errors()
            .give(&target);
        let advised = advised.unwrap_or_else(|error| panic!("{advice}: {error}"));
        assert!(advised.advised > 0, "{advice}: {advised:?}");
    }
    let found = Selection::all().stack().ranges(&target).unwrap();
    assert_eq!(found.len(), 1);
    f.finish().unwrap().assert_clean(1);
}

#[test]
fn selected_mappings() {
    let mut f = start!("touch");
    let base = map(&mut f, 2 << 20);
    let target = target(&f);
    let within = Range {
        start: base,
        len: 2 << 20,
    };
    let selection = Selection::all().anonymous().within(within);
    assert_eq!(selection.ranges(&target).unwrap(), [within]);
    let advised = Advise::new(Advice::DONTDUMP)
        .selected(selection)
        .give(&target)
        .unwrap();
    assert_eq!(advised.advised, 2 << 20);
    assert!(flags_at(&mut f, base).contains(" dd"));
    let all = Selection::all().ranges(&target).unwrap();
    let files = Selection::all().files().ranges(&target).unwrap();
    let libc = Selection::all()
        .named("*/libc*.so*")
        .unwrap()
        .ranges(&target)
        .unwrap();
    assert!(all.len() > files.len() && files.len() >= libc.len() && !libc.is_empty());
    // A flag that does not go with a selection.
    let flags = PmadvFlags::ENTIRE_ADDRESS_SPACE;
    let wrong = Advise::new(Advice::COLD)
        .selected(Selection::all())
        .flags(flags)
        .give(&target);
    assert_eq!(wrong.map_err(|e| e.errno()).unwrap_err(), Errno::EINVAL);
}
