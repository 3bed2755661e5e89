//! The walk's course over time: short counts, ends, cancelling, pauses, and entries by the thousand.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::raw::madvise::MAX_BYTES;

use super::super::*;
use super::fake::{Event, Fake, Setup, Shared, plain, range};
use super::{P, SKIP};
use crate::op::advice::result::Skipped;

#[test]
fn short_counts_are_followed_up() {
    // A count that ends in the middle of an entry: an injected call that ran out of its budget.
    let fake = Fake {
        events: vec![(0, Event::Short(3 * P))],
        ..plain(8)
    };
    let (advised, fake) = Setup::default().walk(fake, &[range(0, 8)]);
    let advised = advised.unwrap();
    assert_eq!(
        (advised.bytes, advised.advised, advised.batches),
        (8 * P, 8 * P, 2)
    );
    assert_eq!(fake.batches[1], [range(3 * P, 5)]);
    // No progress and no error: not for ever.
    let fake = Fake {
        events: vec![(0, Event::Short(0))],
        ..plain(1)
    };
    let (advised, _) = Setup::default().walk(fake, &[range(0, 1)]);
    assert_eq!(advised.unwrap().as_syscall(), Err(Errno::EIO));
}

#[test]
fn an_end_of_the_target_is_an_error_only_if_nothing_was_done() {
    let entries: Vec<Range> = (0..4).map(|i| range(i * P, 1)).collect();
    let dies = |at| Fake {
        events: vec![(at, Event::Die)],
        ..plain(4)
    };
    let setup = Setup {
        most: P,
        ..Setup::default()
    };
    let (advised, _) = setup.walk(dies(0), &entries);
    assert_eq!(advised.unwrap_err().errno(), Errno::ESRCH);
    let (advised, _) = setup.walk(dies(2), &entries);
    let advised = advised.unwrap();
    assert_eq!(advised.as_syscall(), Ok(2 * P));
    assert_eq!(advised.entries[2].error, Some(Errno::ESRCH));
    assert!(
        advised
            .ended
            .is_some_and(|why| why.contains("no such process"))
    );
}

#[test]
fn cancelling_stops_between_two_batches() {
    let cancel = AtomicBool::new(true);
    let (advised, fake) = Setup::default().walk_cancelled(plain(4), &[range(0, 4)], Some(&cancel));
    let advised = advised.unwrap();
    assert!(advised.cancelled && fake.batches.is_empty() && !advised.is_complete());
    assert_eq!(advised.as_syscall(), Ok(0));
    // A long pause does not hold it.
    let cancel = AtomicBool::new(false);
    let setup = Setup {
        most: P,
        pause: Duration::from_secs(600),
        ..Setup::default()
    };
    std::thread::scope(|scope| {
        let later = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            cancel.store(true, Ordering::Relaxed);
        });
        let (advised, fake) = setup.walk_cancelled(plain(4), &[range(0, 4)], Some(&cancel));
        let advised = advised.unwrap();
        assert!(advised.cancelled && advised.took < Duration::from_secs(60));
        assert_eq!((fake.batches.len(), advised.advised), (1, P));
        later.join().unwrap();
    });
}

#[test]
fn pauses_are_between_batches_and_only_after_work() {
    let setup = Setup {
        most: P,
        pause: Duration::from_millis(5),
        ..Setup::flags(SKIP)
    };
    let (advised, _) = setup.walk(plain(5), &[range(0, 5)]);
    assert!(advised.unwrap().took >= Duration::from_millis(20));
    // Hundreds of mappings that fail cost no pause.
    let bad: Vec<_> = (0..400)
        .map(|i| (i * P, (i + 1) * P, Some(Errno::EINVAL)))
        .collect();
    let setup = Setup {
        pause: Duration::from_secs(1),
        ..setup
    };
    let (advised, _) = setup.walk(Fake::with(&bad), &[range(0, 400)]);
    let advised = advised.unwrap();
    assert_eq!((advised.skipped_total, advised.bytes), (400, 0));
    assert!(advised.took < Duration::from_secs(60));
}

#[test]
fn page_by_page_advice_passes_over_what_fails_and_no_more() {
    // 64 MiB in one mapping, of which the kernel refuses one huge page: the fake has it as a
    // mapping of its own, the listing shows one.
    let huge = HUGE;
    let fake = Fake::with(&[
        (0, 5 * huge, None),
        (5 * huge, 6 * huge, Some(Errno::EINVAL)),
        (6 * huge, 32 * huge, None),
    ]);
    let fake = std::cell::RefCell::new(fake);
    let mut list = || Ok(Mapped::new(vec![(0, 32 * huge)]));
    let walk = Walk {
        advice: Advice::COLLAPSE,
        way: Way::Remote,
        flags: SKIP,
        pace: Pace {
            most: Most {
                bytes: 64 << 20,
                mappings: usize::MAX,
            },
            pause: Duration::ZERO,
        },
        task_size: 1 << 47,
        cancel: None,
        progress: None,
        listed: false,
        allow: None,
        list: &mut list,
        apart: &mut |_| Ok(false),
    };
    let entries = [Range {
        start: 0,
        len: 32 * huge,
    }];
    let advised = walk
        .run(entries.to_vec().into(), &mut Shared(&fake))
        .unwrap();
    assert_eq!(advised.advised, 31 * huge);
    assert_eq!(advised.skipped_total, 1);
    assert_eq!(
        (advised.skipped[0].start, advised.skipped[0].len),
        (5 * huge, huge)
    );
    assert_eq!(advised.bytes, 0);
}

#[test]
fn a_million_entries() {
    let entries = vec![range(0, 1); 1_000_000];
    let (advised, fake) = Setup::default().walk(plain(1), &entries);
    assert_eq!(advised.unwrap().bytes, 1_000_000 * P);
    assert_eq!(fake.batches.len(), 977);
}

#[test]
fn what_is_not_cut_yet_goes_with_its_mapping() {
    // Either mapping is thousands of pieces; the first fails at its very first one.
    let half = 5000;
    let fake = Fake::with(&[
        (0, half * P, Some(Errno::EINVAL)),
        (half * P, 2 * half * P, None),
    ]);
    let setup = Setup {
        flags: SKIP,
        most: P,
        ..Setup::default()
    };
    let (advised, fake) = setup.walk(fake, &[range(0, 2 * half)]);
    let advised = advised.unwrap();
    let skipped = Skipped {
        start: 0,
        len: half * P,
        errno: Errno::EINVAL,
    };
    assert_eq!(advised.skipped, [skipped]);
    assert_eq!(advised.advised, half * P);
    assert_eq!(fake.batches.len(), 5001);
}

#[test]
fn an_entry_that_is_not_cut_to_its_end_fails_whole() {
    // A gap that nobody tolerates, met in the middle of thousands of pieces.
    let mut fake = plain(3000);
    fake.mappings.remove(&(1500 * P));
    let setup = Setup {
        most: P,
        ..Setup::default()
    };
    let (advised, fake) = setup.walk(fake, &[range(0, 3000), range(0, 1)]);
    let advised = advised.unwrap();
    assert_eq!(advised.as_syscall(), Err(Errno::ENOMEM));
    assert_eq!(advised.advised, 2999 * P);
    assert!(!advised.entries[1].done);
    assert_eq!(fake.bytes_done(), 2999 * P);
}

#[test]
fn what_was_listed_is_not_listed_again() {
    let fake = std::cell::RefCell::new(plain(4000));
    let mut list = || -> Result<Mapped> { panic!("nothing failed") };
    let walk = Walk {
        advice: Advice::COLD,
        way: Way::Remote,
        flags: SKIP,
        pace: Pace {
            most: Most {
                bytes: MAX_BYTES,
                mappings: usize::MAX,
            },
            pause: Duration::ZERO,
        },
        task_size: 1 << 47,
        cancel: None,
        progress: None,
        listed: true,
        allow: None,
        list: &mut list,
        apart: &mut |_| Ok(false),
    };
    let entries: Vec<Range> = (0..4000).map(|n| range(n * P, 1)).collect();
    let advised = walk.run(entries.into(), &mut Shared(&fake)).unwrap();
    assert_eq!((advised.advised, advised.batches), (4000 * P, 4));
    assert!(advised.is_complete());
}
