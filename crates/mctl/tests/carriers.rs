//! Long calls in a target while its own threads go on, and memory that somebody serves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mctl::advise::{Advice, Advise, Range, Way};
use mctl::memlock::{Lock, Locking, lock, unlock};
use mctl::operation::{Hooks, dry_run, run};
use mctl::{AcrossExec, Bytes, Errno, HostCaps, PolicyKind, Request, Target, apply};
use mctl_testkit::{Fixture, require_root, start};

fn target(f: &Fixture) -> Target {
    Target::open(f.pid().to_string().parse().unwrap()).unwrap()
}

fn children(pid: i32) -> String {
    let mut found = String::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .flatten()
    {
        found += &std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    }
    found
}

fn served_len(f: &Fixture) -> Bytes {
    Bytes(
        f.info("memory")
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap(),
    )
}

const CURRENT: Lock = Lock {
    current: true,
    future: false,
    on_fault: false,
};

fn locking(served_too: bool) -> Locking {
    Locking {
        what: CURRENT,
        served_too,
        ..Locking::default()
    }
}
const ASKED_FOR: bool = true;

/// The thread that serves is never the one that waits, whether it is the only one, one that sleeps
/// beside it, or one that works.
#[test]
fn a_program_that_serves_its_own_faults_can_be_locked() {
    require_root!();
    for mode in ["mode=0", "mode=1", "mode=2"] {
        let f = start!("uffd_served", mode);
        let target = target(&f);
        let len = served_len(&f);
        assert_eq!(
            dry_run(&locking(false), &target).unwrap().left_to_server,
            len
        );
        let locked = lock(&target, CURRENT).unwrap();
        assert_eq!(
            locked.left_to_server, len,
            "{mode}: passed over unless asked for"
        );
        assert!(
            locked.notes.iter().any(|note| note.contains("userfaultfd")),
            "{locked:?}"
        );
        assert!(locked.after > Bytes::ZERO);
        let all = run(&locking(ASKED_FOR), &target, &mut Hooks::default()).unwrap();
        assert_eq!(all.left_to_server, Bytes::ZERO);
        assert!(all.after.0 >= locked.after.0 + len.0, "{all:?}");
        assert_eq!(unlock(&target).unwrap().after, Bytes::ZERO);
        assert_eq!(children(f.pid()), "");
        f.finish().unwrap().assert_clean(len.0 / 4096);
    }
}

#[test]
fn advice_passes_over_what_is_served_unless_asked_for() {
    require_root!();
    let f = start!("uffd_served", "mode=0");
    let target = target(&f);
    let len = served_len(&f);
    let populate = || {
        Advise::new(Advice::POPULATE_WRITE)
            .entire_address_space()
            .skip_errors()
    };
    assert_eq!(dry_run(&populate(), &target).unwrap().left_to_server, len.0);
    // Ranges that are named are not passed over, and a dry run does not say so either.
    let start = f.info("memory").unwrap();
    let start = start.split(' ').next().unwrap().trim_start_matches("0x");
    let served = Range {
        start: u64::from_str_radix(start, 16).unwrap(),
        len: len.0,
    };
    let named = Advise::new(Advice::POPULATE_WRITE)
        .ranges(vec![served])
        .skip_errors();
    assert_eq!(dry_run(&named, &target).unwrap().left_to_server, 0);
    let advised = populate().give(&target).unwrap();
    assert_eq!((advised.left_to_server, advised.way), (len.0, Way::Carrier));
    let all = populate().served_too().give(&target).unwrap();
    assert_eq!(all.left_to_server, 0);
    assert!(all.advised >= advised.advised + len.0, "{all:?}");
    f.finish().unwrap().assert_clean(len.0 / 4096);
}

/// Whoever asks for pages that nobody serves is told so, in bounded time, and Ctrl-C ends it.
#[test]
fn what_nobody_serves_is_given_up() {
    require_root!();
    let f = start!("uffd_served", "mode=3");
    let target = target(&f);
    let begun = Instant::now();
    let error = run(&locking(ASKED_FOR), &target, &mut Hooks::default()).unwrap_err();
    assert_eq!(error.errno(), Errno::ETIMEDOUT, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(120));
    assert_eq!(children(f.pid()), "");
    let cancel = AtomicBool::new(false);
    let locked = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let mut hooks = Hooks {
                cancel: Some(&cancel),
                ..Hooks::default()
            };
            run(&locking(ASKED_FOR), &target, &mut hooks)
        });
        // Its carrier is there, and soon in the call that does not return.
        while children(f.pid()).is_empty() && !work.is_finished() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(30));
        cancel.store(true, Ordering::Relaxed);
        work.join().unwrap()
    });
    assert!(locked.unwrap().cancelled);
    assert_eq!(children(f.pid()), "");
    f.finish().unwrap().assert_clean(1);
}

/// Unmerging walks the memory; no thread of the process waits for it.
#[test]
fn merging_is_taken_back_in_pieces() {
    const LEN: u64 = 64 << 20;
    let caps = HostCaps::probe_for(&[PolicyKind::Mergeable]).unwrap();
    let mut f = start!("touch");
    let answer = f.ask(&format!("map {LEN}")).unwrap();
    let place = answer.strip_prefix("map ").unwrap().to_owned();
    assert_eq!(f.ask(&format!("touch {place}")).unwrap(), "ok");
    let target = target(&f);
    let set = Request::set(&[PolicyKind::Mergeable], AcrossExec::Inherit).unwrap();
    let clear = Request::clear(&[PolicyKind::Mergeable]).unwrap();
    match apply(&set, &target, &caps) {
        Ok(_) => {}
        Err(error) if error.errno() == Errno::EOPNOTSUPP => {
            f.finish().unwrap().assert_clean(1);
            mctl_testkit::skip!("no merging for whole processes here");
        }
        Err(error) => panic!("{error}"),
    }
    let address = place.split(' ').next().unwrap().to_owned();
    let flags = |f: &mut Fixture| f.ask(&format!("smaps {address} VmFlags")).unwrap();
    assert!(flags(&mut f).contains(" mg"));
    let outcome = apply(&clear, &target, &caps).unwrap();
    assert_eq!(
        (outcome.merge_before, outcome.merge_after),
        (Some(1), Some(0))
    );
    assert!(outcome.stopped > Duration::ZERO);
    eprintln!("own threads stopped for {:?}", outcome.stopped);
    assert!(!flags(&mut f).contains(" mg"));
    assert_eq!(f.ask("merge").unwrap(), "merge 0");
    // One mapping again, not as many as there were pieces.
    let size = f.ask(&format!("smaps {address} Size")).unwrap();
    assert!(size.contains(&(LEN >> 10).to_string()), "{size}");
    assert_eq!(f.ask(&format!("check {place}")).unwrap(), "ok");
    assert_eq!(children(f.pid()), "");
    f.finish().unwrap().assert_clean(1);
}

/// What works in a process is none of its children to us.
#[test]
fn a_tree_passes_over_a_carrier() {
    require_root!();
    let f = start!("uffd_served", "mode=3");
    let target = target(&f);
    let cancel = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let mut hooks = Hooks {
                cancel: Some(&cancel),
                ..Hooks::default()
            };
            run(&locking(ASKED_FOR), &target, &mut hooks)
        });
        let begun = Instant::now();
        while children(f.pid()).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "no carrier");
        }
        // Now it is there, and named a moment later.
        std::thread::sleep(Duration::from_millis(50));
        let members = mctl::tree::members_of_tree(&target).unwrap();
        cancel.store(true, Ordering::Relaxed);
        work.join().unwrap().unwrap();
        assert!(
            members.left_out.orphans.is_empty(),
            "{:?}",
            members.left_out
        );
        let members: Vec<i32> = members.processes.iter().map(Target::pid).collect();
        assert_eq!(members, [f.pid()]);
    });
    f.finish().unwrap().assert_clean(1);
}

/// The kernel looks for the memory of a process in its first thread, which has exited here. What is
/// said to be advised is so.
#[test]
fn collapse_where_the_first_thread_has_exited() {
    let f = start!("leader_exit", "mib=8");
    let line = f.info("memory").unwrap();
    let (start, len) = line.split_once(' ').unwrap();
    let start = u64::from_str_radix(start.trim_start_matches("0x"), 16).unwrap();
    let len: u64 = len.parse().unwrap();
    let range = mctl::advise::Range { start, len };
    let huge = || -> u64 {
        let task = f
            .tasks()
            .into_iter()
            .find(|task| task.tid != f.pid())
            .unwrap();
        let path = format!("/proc/{}/task/{}/smaps", f.pid(), task.tid);
        let smaps = std::fs::read_to_string(path).unwrap();
        let mut lines = smaps
            .lines()
            .skip_while(|l| !l.starts_with(&format!("{start:x}-")));
        let line = lines
            .find(|line| line.starts_with("AnonHugePages:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            << 10
    };
    let before = huge();
    let advised = Advise::new(Advice::COLLAPSE)
        .ranges(vec![range])
        .give(&target(&f));
    match advised {
        // khugepaged may have been there before us.
        Ok(advised) if advised.is_complete() => {
            eprintln!("{before} bytes huge before, {} after", huge());
            assert_eq!((advised.advised, huge()), (len, len));
        }
        // No huge page to be had, or none wanted here: then nothing is said to be advised.
        Ok(advised) => {
            assert!(advised.entries[0].error.is_some(), "{advised:?}");
            assert!(advised.advised <= huge(), "{advised:?}");
        }
        Err(error) => assert_eq!(error.errno(), Errno::EINVAL, "{error}"),
    }
    assert_eq!(children(f.pid()), "");
    f.finish().unwrap().assert_clean(1);
}
