//! mlockall and munlockall in a target, and what is said beforehand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic")]

use mctl::advise::{Advice, Advise, Range};
use mctl::memlock::{Allowance, Lock, lock, unlock};
use mctl::reclaim::{Change, Look, host_has_swap};
use mctl::{Bytes, Errno, Target};
use mctl_testkit::{Fixture, require_root, start};

const LEN: u64 = 64 << 20;

fn target(f: &Fixture) -> Target {
    Target::open(f.pid().to_string().parse().unwrap()).unwrap()
}

fn map(f: &mut Fixture, len: u64) -> String {
    let answer = f.ask(&format!("map {len}")).unwrap();
    answer
        .strip_prefix("map ")
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

const CURRENT: Lock = Lock {
    current: true,
    future: false,
    on_fault: false,
};

/// A fixture without privileges, with this soft limit on locked memory: it inherits ours, which
/// says nothing to the privileged ones of the other tests.
fn limited(bytes: u64) -> Result<Fixture, mctl_testkit::KitError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let old = getrlimit(Resource::Memlock);
    let new = Rlimit {
        current: Some(bytes),
        maximum: old.maximum,
    };
    setrlimit(Resource::Memlock, new).unwrap();
    let fixture = Fixture::builder("touch").as_user(65_534).start();
    setrlimit(Resource::Memlock, old).unwrap();
    fixture
}

#[test]
fn current_memory_is_populated_and_locked() {
    require_root!();
    let mut f = start!("touch");
    let place = map(&mut f, LEN);
    let target = target(&f);
    let locked = lock(&target, CURRENT).unwrap();
    assert_eq!(locked.before, Bytes::ZERO);
    assert!(locked.after.0 >= LEN, "{locked:?}");
    let address = place.split(' ').next().unwrap();
    let rss = f.ask(&format!("smaps {address} Rss")).unwrap();
    assert!(rss.contains(&(LEN >> 10).to_string()), "{rss}");
    assert!(
        !f.ask(&format!("smaps {address} VmFlags"))
            .unwrap()
            .contains(" lf")
    );
    eprintln!(
        "lock of {} MiB: the longest stop {:?}",
        LEN >> 20,
        locked.longest_stop
    );
    // What comes later is not locked.
    let later = map(&mut f, 2 << 20);
    let flags = |f: &mut Fixture, place: &str| {
        let address = place.split(' ').next().unwrap();
        f.ask(&format!("smaps {address} VmFlags")).unwrap()
    };
    assert!(!flags(&mut f, &later).contains(" lo"));
    let unlocked = unlock(&target).unwrap();
    assert_eq!(
        (unlocked.before, unlocked.after),
        (locked.after, Bytes::ZERO)
    );
    assert!(!flags(&mut f, &place).contains(" lo"));
    f.finish().unwrap().assert_clean(1);
}

#[test]
fn future_memory_and_on_fault() {
    require_root!();
    let mut f = start!("touch");
    let target = target(&f);
    let future = Lock {
        current: false,
        future: true,
        on_fault: false,
    };
    let locked = lock(&target, future).unwrap();
    assert_eq!((locked.after, locked.notes.len()), (Bytes::ZERO, 1));
    let place = map(&mut f, 2 << 20);
    assert!(Allowance::of(&target).unwrap().locked.0 >= 2 << 20);
    unlock(&target).unwrap();
    let on_fault = Lock {
        current: true,
        future: false,
        on_fault: true,
    };
    let large = map(&mut f, LEN);
    let locked = lock(&target, on_fault).unwrap();
    assert!(locked.after.0 >= LEN);
    let address = large.split(' ').next().unwrap();
    let rss = f.ask(&format!("smaps {address} Rss")).unwrap();
    assert!(rss.contains(" 0 kB"), "nothing is brought in: {rss}");
    assert!(place.contains("0x"));
    f.finish().unwrap().assert_clean(1);
}

#[test]
fn limits_are_told_before_the_target_is_touched() {
    require_root!();
    let refused = |bytes: u64| {
        let f = limited(bytes).unwrap();
        let error = lock(&target(&f), CURRENT).unwrap_err();
        assert_eq!(Allowance::of(&target(&f)).unwrap().locked, Bytes::ZERO);
        f.finish().unwrap().assert_clean(0);
        error
    };
    let error = refused(0);
    assert_eq!(error.errno(), Errno::EPERM);
    assert!(error.to_string().contains("RLIMIT_MEMLOCK is 0"), "{error}");
    let error = refused(64 << 10);
    assert_eq!(error.errno(), Errno::ENOMEM);
    assert!(error.to_string().contains("mapped and may lock"), "{error}");
    let f = start!("touch");
    let target = target(&f);
    assert!(lock(&target, CURRENT).unwrap().after > Bytes::ZERO);
    assert_eq!(unlock(&target).unwrap().after, Bytes::ZERO);
    let none = lock(&target, Lock::default()).unwrap_err();
    assert_eq!(none.errno(), Errno::EINVAL);
    let own = lock(&Target::own().unwrap(), CURRENT).unwrap_err();
    assert_eq!(own.errno(), Errno::EINVAL);
}

#[test]
fn numbers_before_and_after() {
    require_root!();
    let mut f = start!("touch");
    let place = map(&mut f, LEN);
    assert_eq!(f.ask(&format!("advise {place} 15")).unwrap(), "ok");
    assert_eq!(f.ask(&format!("touch {place}")).unwrap(), "ok");
    assert_eq!(f.ask(&format!("advise {place} 14")).unwrap(), "ok");
    let target = target(&f);
    let start = place.split(' ').next().unwrap().trim_start_matches("0x");
    let range = Range {
        start: u64::from_str_radix(start, 16).unwrap(),
        len: LEN,
    };
    let give = |advice| {
        let before = Look::take(&target).unwrap();
        let advised = Advise::new(advice)
            .ranges(vec![range])
            .give(&target)
            .unwrap();
        assert_eq!(advised.bytes, LEN, "{advice}");
        let after = Look::take(&target).unwrap();
        Change { before, after }
    };
    let change = give(Advice::COLLAPSE);
    // khugepaged may have been there before us.
    assert!(change.after.memory.anon_huge >= Bytes(LEN), "{change:?}");
    assert!(change.became_huge() > Bytes::ZERO);
    let change = give(Advice::PAGEOUT);
    if host_has_swap() {
        assert!(change.went_to_swap() > Bytes::ZERO && change.host_wide().swap_out > Some(0));
    } else {
        // Nowhere to put it: it stays.
        assert_eq!(change.went_to_swap(), Bytes::ZERO);
        assert!(change.left_memory().0 < LEN / 2);
    }
    let json = serde_json::to_value(change).unwrap();
    assert!(json["after"]["host"]["refault_anon"].is_u64(), "{json}");
    assert_eq!(f.ask(&format!("check {place}")).unwrap(), "ok");
    f.finish().unwrap().assert_clean(1);
}
