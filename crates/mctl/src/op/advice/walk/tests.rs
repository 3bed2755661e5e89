//! The walk, on a kernel of our own.

mod course;
mod fake;

use mctl_abi::Errno;

use mctl_sys::raw::madvise::MAX_BYTES;

use super::*;
use crate::op::advice::pieces::PAGE;
use crate::op::advice::result::Skipped;
use fake::{Event, Fake, Setup, plain, range};

const P: u64 = PAGE;
const SKIP: PmadvFlags = PmadvFlags::SKIP_ERRORS;
const GAPS: PmadvFlags = PmadvFlags::NO_ERROR_ON_UNMAPPED;

#[test]
fn batches_keep_to_the_kernels_limits() {
    // More entries than one call takes.
    let entries: Vec<Range> = (0..3000).map(|i| range(i * P, 1)).collect();
    let (advised, fake) = Setup::default().walk(plain(3000), &entries);
    assert_eq!(advised.unwrap().bytes, 3000 * P);
    let sizes: Vec<usize> = fake.batches.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1024, 1024, 952]);
    // More bytes than one call carries out.
    let all = 5 * MAX_BYTES / P;
    let one = Fake::with(&[(0, all * P, None)]);
    let (advised, fake) = Setup::default().walk(one, &[range(0, all)]);
    assert_eq!(advised.unwrap().bytes, all * P);
    assert_eq!(fake.bytes_done(), all * P);
    assert!(fake.batches.len() >= 5);
}

#[test]
fn it_stops_at_the_first_error_and_says_how_far_it_came() {
    let bad = |index: u64| {
        let mut fake = plain(10);
        fake.mappings
            .insert(index * P, ((index + 1) * P, Some(Errno::EINVAL)));
        fake
    };
    let entries: Vec<Range> = (0..10).map(|i| range(i * P, 1)).collect();
    let (advised, _) = Setup::default().walk(bad(4), &entries);
    let advised = advised.unwrap();
    assert_eq!(advised.as_syscall(), Ok(4 * P));
    assert_eq!(advised.entries[4].error, Some(Errno::EINVAL));
    assert!(!advised.entries[5].done && !advised.is_complete());
    let (advised, _) = Setup::default().walk(bad(0), &entries);
    assert_eq!(advised.unwrap().as_syscall(), Err(Errno::EINVAL));
    // An empty entry before it does not make it a success.
    let (advised, _) = Setup::default().walk(bad(0), &[range(0, 0), range(0, 1)]);
    assert_eq!(advised.unwrap().as_syscall(), Err(Errno::EINVAL));
}

#[test]
fn a_failing_mapping_is_passed_over_as_one_whatever_its_size() {
    let size = 64 * P;
    let fake = Fake::with(&[
        (0, size, None),
        (size, 3 * size, Some(Errno::EINVAL)),
        (3 * size, 4 * size, None),
    ]);
    let setup = Setup {
        most: 8 * P,
        ..Setup::flags(SKIP)
    };
    let entries = [range(0, 64), range(0, 256), range(3 * size, 64)];
    let (advised, fake) = setup.walk(fake, &entries);
    let advised = advised.unwrap();
    assert_eq!(
        advised.bytes,
        128 * P,
        "the entries in which nothing was skipped"
    );
    assert_eq!(advised.skipped_total, 1);
    assert_eq!(
        advised.skipped,
        [Skipped {
            start: size,
            len: 2 * size,
            errno: Errno::EINVAL
        }]
    );
    assert!(advised.entries.iter().all(|entry| entry.done));
    assert_eq!(advised.entries[1].skipped, 1);
    assert_eq!(fake.bytes_done(), 4 * size);
    assert_eq!(advised.advised, 4 * size);
}

#[test]
fn gaps_leading_inner_and_trailing() {
    let maps = [(4 * P, 8 * P, None), (12 * P, 16 * P, None)];
    let cases = [
        ("leading", range(0, 8), 4),
        ("inner", range(4 * P, 12), 8),
        ("trailing", range(12 * P, 8), 4),
        ("all", range(0, 30), 8),
        ("nothing", range(20 * P, 4), 0),
    ];
    for (name, entry, mapped) in cases {
        for stops_at_gap in [false, true] {
            for way in [Way::Remote, Way::Injected] {
                for most in [MAX_BYTES, 2 * P] {
                    let setup = |flags| Setup {
                        way,
                        most,
                        advice: if stops_at_gap {
                            Advice::POPULATE_READ
                        } else {
                            Advice::COLD
                        },
                        ..Setup::flags(flags)
                    };
                    let fake = || Fake {
                        stops_at_gap,
                        ..Fake::with(&maps)
                    };
                    let name = format!("{name} {stops_at_gap} {way:?} {most}");
                    // Carried out on what is mapped, then reported; what follows is not done.
                    let after = range(4 * P, 1);
                    let (advised, fake_) = setup(PmadvFlags::NONE).walk(fake(), &[entry, after]);
                    let advised = advised.unwrap();
                    assert_eq!(advised.as_syscall(), Err(Errno::ENOMEM), "{name}");
                    let mut pages: Vec<u64> = fake_
                        .done
                        .iter()
                        .flat_map(|(s, e)| (s / P)..(e / P))
                        .collect();
                    pages.sort_unstable();
                    pages.dedup();
                    assert_eq!(pages.len() as u64, mapped, "{name}: {:?}", fake_.done);
                    assert!(!advised.entries[1].done, "{name}");
                    // After one that is right it is a short count.
                    let (advised, _) = setup(PmadvFlags::NONE).walk(fake(), &[after, entry, after]);
                    assert_eq!(advised.unwrap().as_syscall(), Ok(P), "{name}");
                    for flags in [GAPS, SKIP, GAPS.with(SKIP)] {
                        let (advised, fake_) = setup(flags).walk(fake(), &[entry]);
                        let advised = advised.unwrap();
                        assert_eq!(advised.as_syscall(), Ok(entry.len), "{name} {flags:?}");
                        assert_eq!(fake_.bytes_done(), mapped * P, "{name} {flags:?}");
                        assert_eq!(advised.advised, mapped * P, "{name} {flags:?}");
                        assert!(advised.is_complete());
                    }
                }
            }
        }
    }
}

#[test]
fn memory_that_goes_away_meanwhile_is_a_gap() {
    for advice in [Advice::COLD, Advice::COLLAPSE, Advice::POPULATE_READ] {
        let fake = Fake {
            events: vec![(0, Event::Unmap(2 * P))],
            stops_at_gap: advice == Advice::POPULATE_READ,
            ..plain(6)
        };
        let setup = Setup {
            advice,
            ..Setup::flags(GAPS)
        };
        let (advised, fake) = setup.walk(fake, &[range(0, 6)]);
        let advised = advised.unwrap();
        assert_eq!(advised.as_syscall(), Ok(6 * P), "{advice}");
        let reached: std::collections::BTreeSet<u64> =
            fake.done.iter().map(|(start, _)| *start).collect();
        assert_eq!(reached.len(), 5, "{advice}: {reached:?}");
    }
}

#[test]
fn a_target_that_is_always_quicker_does_not_hold_the_walk_for_ever() {
    let mut events = Vec::new();
    for n in 0..1000 {
        let event = if n % 2 == 0 {
            Event::Unmap(P)
        } else {
            Event::Map(P, 2 * P)
        };
        events.push((n, event));
        events.push((n, Event::Answer(Errno::ENOMEM)));
    }
    for (advice, flags) in [
        (Advice::COLLAPSE, GAPS),
        (Advice::COLLAPSE, SKIP),
        (Advice::COLD, GAPS),
    ] {
        let fake = Fake {
            events: events.clone(),
            ..plain(3)
        };
        let setup = Setup {
            advice,
            ..Setup::flags(flags)
        };
        let (advised, fake) = setup.walk(fake, &[range(P, 1)]);
        assert!(advised.is_ok(), "{advice}");
        assert!(fake.batches.len() < 50, "{}", fake.batches.len());
    }
}

#[test]
fn interruption_is_never_passed_over() {
    for errno in [Errno::EINTR, Errno::from_raw(512), Errno::from_raw(513)] {
        let fake = Fake {
            events: vec![(1, Event::Answer(errno))],
            ..plain(4)
        };
        let setup = Setup {
            most: P,
            ..Setup::flags(SKIP)
        };
        let entries: Vec<Range> = (0..4).map(|i| range(i * P, 1)).collect();
        let (advised, _) = setup.walk(fake, &entries);
        let advised = advised.unwrap();
        assert_eq!(advised.as_syscall(), Ok(P));
        assert_eq!(advised.entries[1].error, Some(Errno::EINTR));
        assert_eq!(advised.skipped_total, 0);
    }
}

#[test]
fn malformed_entries_end_the_walk_also_when_errors_are_passed_over() {
    let bad = [
        Range { start: 1, len: P },
        Range {
            start: 0,
            len: u64::MAX,
        },
        Range {
            start: u64::MAX - P + 1,
            len: 2 * P,
        },
    ];
    for entry in bad {
        for flags in [PmadvFlags::NONE, GAPS, SKIP] {
            let (advised, fake) = Setup::flags(flags).walk(plain(4), &[entry]);
            assert_eq!(advised.unwrap().as_syscall(), Err(Errno::EINVAL));
            assert!(fake.batches.is_empty());
            let entries = [range(0, 2), entry, range(2 * P, 1)];
            let (advised, fake) = Setup::flags(flags).walk(plain(4), &entries);
            let advised = advised.unwrap();
            assert_eq!(advised.as_syscall(), Ok(2 * P));
            assert!(!advised.entries[2].done);
            assert_eq!(fake.bytes_done(), 2 * P);
        }
    }
}

#[test]
fn nothing_is_given_beyond_the_end_of_user_space() {
    let end = 1 << 47;
    let fake = || Fake::with(&[(end - 2 * P, end, None)]);
    for entry in [range(end - P, 2), range(end, 1), range(1 << 63, 1)] {
        let (advised, fake_) = Setup::default().walk(fake(), &[entry]);
        assert_eq!(advised.unwrap().as_syscall(), Err(Errno::ENOMEM));
        assert!(
            fake_
                .batches
                .iter()
                .flatten()
                .all(|r| r.start + r.len <= end)
        );
        let (advised, _) = Setup::flags(GAPS).walk(fake(), &[entry]);
        assert_eq!(advised.unwrap().as_syscall(), Ok(entry.len));
    }
}
