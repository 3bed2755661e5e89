//! A kernel of our own: mappings that fail, go away and come back as a test says.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mctl_abi::Errno;
use mctl_sys::raw::madvise::{MAX_BYTES, MAX_ENTRIES};

use super::super::*;
use super::P;
use crate::error::Error;

pub(super) fn range(start: u64, pages: u64) -> Range {
    Range {
        start,
        len: pages * P,
    }
}

/// What the kernel does on a list of ranges, with the mappings of a target.
#[derive(Default)]
pub(super) struct Fake {
    /// Start and end of each, and what its advice answers.
    pub(super) mappings: BTreeMap<u64, (u64, Option<Errno>)>,
    /// Every batch that came.
    pub(super) batches: Vec<Vec<Range>>,
    /// What was carried out, byte ranges in order.
    pub(super) done: Vec<(u64, u64)>,
    /// What to do before a batch is carried out: unmap, map, die.
    pub(super) events: Vec<(usize, Event)>,
    /// Stops at a gap, as POPULATE does.
    pub(super) stops_at_gap: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Event {
    Unmap(u64),
    Map(u64, u64),
    Die,
    Answer(Errno),
    Short(u64),
}

impl Fake {
    pub(super) fn with(mappings: &[(u64, u64, Option<Errno>)]) -> Fake {
        let mut fake = Fake::default();
        for (start, end, answer) in mappings {
            fake.mappings.insert(*start, (*end, *answer));
        }
        fake
    }

    pub(super) fn list(&self) -> Mapped {
        Mapped::new(self.mappings.iter().map(|(s, (e, _))| (*s, *e)).collect())
    }

    /// madvise(2): on through gaps, then ENOMEM; at once on any other error.
    pub(super) fn madvise(&mut self, range: Range) -> Result<(), Errno> {
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

    pub(super) fn bytes_done(&self) -> u64 {
        self.done.iter().map(|(start, end)| end - start).sum()
    }
}

pub(super) struct Shared<'f>(pub(super) &'f std::cell::RefCell<Fake>);

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

pub(super) struct Setup {
    pub(super) advice: Advice,
    pub(super) flags: PmadvFlags,
    pub(super) way: Way,
    pub(super) most: u64,
    pub(super) pause: Duration,
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
    pub(super) fn flags(flags: PmadvFlags) -> Setup {
        Setup {
            flags,
            ..Setup::default()
        }
    }

    pub(super) fn walk(&self, fake: Fake, entries: &[Range]) -> (Result<Advised>, Fake) {
        self.walk_cancelled(fake, entries, None)
    }

    pub(super) fn walk_cancelled(
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
            allow: None,
            list: &mut list,
            apart: &mut |_| Ok(false),
        };
        let advised = walk.run(entries.to_vec().into(), &mut Shared(&fake));
        (advised, fake.into_inner())
    }
}

pub(super) fn plain(n: u64) -> Fake {
    // `n` mappings of one page, side by side.
    Fake::with(
        &(0..n)
            .map(|i| (i * P, (i + 1) * P, None))
            .collect::<Vec<_>>(),
    )
}
