//! The walk on a kernel of our own: mappings that fail, go away and come back as the test says.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mctl_abi::Errno;

use mctl_sys::raw::madvise::{MAX_BYTES, MAX_ENTRIES};

use super::*;
use crate::advise::pieces::PAGE;
use crate::advise::result::Skipped;
use crate::error::Error;

const P: u64 = PAGE;

fn range(start: u64, pages: u64) -> Range {
    Range {
        start,
        len: pages * P,
    }
}

/// What the kernel does on a list of ranges, with the mappings of a target.
#[derive(Default)]
struct Fake {
    /// Start and end of each, and what its advice answers.
    mappings: BTreeMap<u64, (u64, Option<Errno>)>,
    /// Every batch that came.
    batches: Vec<Vec<Range>>,
    /// What was carried out, byte ranges in order.
    done: Vec<(u64, u64)>,
    /// What to do before a batch is carried out: unmap, map, die.
    events: Vec<(usize, Event)>,
    /// Stops at a gap, as POPULATE does.
    stops_at_gap: bool,
}

#[derive(Clone, Copy)]
enum Event {
    Unmap(u64),
    Map(u64, u64),
    Die,
    Answer(Errno),
    Short(u64),
}

impl Fake {
    fn with(mappings: &[(u64, u64, Option<Errno>)]) -> Fake {
        let mut fake = Fake::default();
        for (start, end, answer) in mappings {
            fake.mappings.insert(*start, (*end, *answer));
        }
        fake
    }

    fn list(&self) -> Mapped {
        Mapped::new(self.mappings.iter().map(|(s, (e, _))| (*s, *e)).collect())
    }

    /// madvise(2): on through gaps, then ENOMEM; at once on any other error.
    fn madvise(&mut self, range: Range) -> Result<(), Errno> {
        let end = range.start + range.len;
        let mut at = range.start;
        let mut gap = false;
        let hit: Vec<(u64, u64, Option<Errno>)> = self
            .mappings
            .iter()
            .map(|(start, (stop, answer))| (*start, *stop, *answer))
            .filter(|(start, stop, _)| *start < end && *stop > range.start)
            .collect();
        for (start, stop, answer) in hit {
            gap |= start > at;
            if gap && self.stops_at_gap {
                return Err(Errno::ENOMEM);
            }
            if let Some(errno) = answer {
                return Err(errno);
            }
            self.done.push((start.max(range.start), stop.min(end)));
            at = stop;
        }
        if gap || at < end {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }

    fn bytes_done(&self) -> u64 {
        self.done.iter().map(|(start, end)| end - start).sum()
    }
}

struct Shared<'f>(&'f std::cell::RefCell<Fake>);

impl Giver for Shared<'_> {
    fn give(&mut self, batch: &[Range]) -> Result<Given> {
        let mut fake = self.0.borrow_mut();
        assert!(!batch.is_empty() && batch.len() <= MAX_ENTRIES);
        assert!(batch.iter().map(|r| r.len).sum::<u64>() <= MAX_BYTES);
        let number = fake.batches.len();
        fake.batches.push(batch.to_vec());
        let events: Vec<Event> = fake
            .events
            .iter()
            .filter(|(at, _)| *at == number)
            .map(|(_, event)| *event)
            .collect();
        for event in events {
            match event {
                Event::Unmap(start) => {
                    fake.mappings.remove(&start);
                }
                Event::Map(start, end) => {
                    fake.mappings.insert(start, (end, None));
                }
                Event::Die => return Err(Error::NoProcess { pid: 7 }),
                Event::Answer(errno) => {
                    return Ok(Given {
                        bytes: 0,
                        error: Some(errno),
                    });
                }
                Event::Short(bytes) => return Ok(Given { bytes, error: None }),
            }
        }
        let mut bytes = 0;
        for range in batch {
            match fake.madvise(*range) {
                Ok(()) => bytes += range.len,
                // As process_madvise: a short count, the error only for the first.
                Err(_) if bytes > 0 => return Ok(Given { bytes, error: None }),
                Err(errno) => {
                    return Ok(Given {
                        bytes,
                        error: Some(errno),
                    });
                }
            }
        }
        Ok(Given { bytes, error: None })
    }
}

struct Setup {
    advice: Advice,
    flags: PmadvFlags,
    way: Way,
    most: u64,
    pause: Duration,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            advice: Advice::COLD,
            flags: PmadvFlags::NONE,
            way: Way::Remote,
            most: MAX_BYTES,
            pause: Duration::ZERO,
        }
    }
}

impl Setup {
    fn flags(flags: PmadvFlags) -> Setup {
        Setup {
            flags,
            ..Setup::default()
        }
    }

    fn walk(&self, fake: Fake, entries: &[Range]) -> (Result<Advised>, Fake) {
        self.walk_cancelled(fake, entries, None)
    }

    fn walk_cancelled(
        &self,
        fake: Fake,
        entries: &[Range],
        cancel: Option<&AtomicBool>,
    ) -> (Result<Advised>, Fake) {
        let fake = std::cell::RefCell::new(fake);
        let mut list = || Ok(fake.borrow().list());
        let walk = Walk {
            advice: self.advice,
            way: self.way,
            flags: self.flags,
            pace: Pace {
                most: Most {
                    bytes: self.most,
                    mappings: usize::MAX,
                },
                pause: self.pause,
            },
            task_size: 1 << 47,
            cancel,
            progress: None,
            listed: false,
            list: &mut list,
        };
        let advised = walk.run(entries.to_vec(), &mut Shared(&fake));
        (advised, fake.into_inner())
    }
}

fn plain(n: u64) -> Fake {
    // `n` mappings of one page, side by side.
    Fake::with(
        &(0..n)
            .map(|i| (i * P, (i + 1) * P, None))
            .collect::<Vec<_>>(),
    )
}

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
        list: &mut list,
    };
    let entries = [Range {
        start: 0,
        len: 32 * huge,
    }];
    let advised = walk.run(entries.to_vec(), &mut Shared(&fake)).unwrap();
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
        list: &mut list,
    };
    let entries: Vec<Range> = (0..4000).map(|n| range(n * P, 1)).collect();
    let advised = walk.run(entries, &mut Shared(&fake)).unwrap();
    assert_eq!((advised.advised, advised.batches), (4000 * P, 4));
    assert!(advised.is_complete());
}
