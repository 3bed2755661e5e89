//! docs/CONTRACT.md#3-process_madvise-extended on real processes: arguments, the order of their checks, and who is named.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic")]

mod advise_common;

use std::os::fd::AsRawFd;

use advise_common::*;
use mctl::advise::{Advice, Advise, P_PID, P_PIDFD, PmadvFlags, Range, Selection, process_madvise};
use mctl::{Errno, Target};
use mctl_testkit::start;

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
