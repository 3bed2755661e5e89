//! Random histories, made from arbitrary bytes.

use arbitrary::{Arbitrary, Result, Unstructured};
use mctl_model::{Caps, CloneKind, Madvise, PAGE, VmFlags};

use crate::call::{Addr, Base, Call, Entries, How, Place, Prctl, Source, Step, TaskIx, Whom};
use crate::lang::{Line, Names, Scenario, Wanted, WantedOutcome};

/// What a history may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Menu {
    /// The plain system calls.
    #[default]
    Plain,
    /// These, and mctl and process_madvise.
    Policy,
}

/// A history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its steps.
    pub steps: Vec<Step>,
}

/// Regions 0 to 3 are small; 4 and 5 hold several aligned 2 MiB blocks.
const REGIONS: u16 = 6;
const SMALL: u64 = 24 * PAGE;
const LARGE: u64 = 4 << 20;
/// The most tasks of one history.
const TASKS: u16 = 4;
/// The files of a history: on tmpfs, on disk, and on disk but opened for reading only.
const FILES: [(bool, bool); 3] = [(true, false), (false, false), (false, true)];
const FILE_NAMES: [&str; 3] = ["f0", "f1", "f2"];
/// Their size: some pages less than a small region, so that a mapping can reach beyond the end.
const FILE_LEN: u64 = 20 * PAGE;

impl History {
    /// The history as a scenario with these results to come.
    #[must_use]
    pub fn to_scenario(&self, sentence: &str, wanted: &[Wanted]) -> Scenario {
        let lines = self.steps.iter().enumerate().map(|(at, step)| Line {
            outcome: WantedOutcome::default(),
            number: 0,
            step: step.clone(),
            wanted: wanted.get(at).copied().unwrap_or(Wanted::Any),
        });
        Scenario {
            sentence: sentence.to_owned(),
            names: History::names(),
            lines: lines.collect(),
            ..Scenario::default()
        }
    }

    /// The names that generated histories use.
    #[must_use]
    pub fn names() -> Names {
        let named = |letter: char, count: u16| (0..count).map(move |at| format!("{letter}{at}"));
        Names {
            tasks: named('p', TASKS).collect(),
            regions: named('r', REGIONS).collect(),
            files: FILE_NAMES.map(str::to_owned).to_vec(),
            ..Names::default()
        }
    }

    /// Makes a history out of bytes.
    ///
    /// # Errors
    /// Where the bytes run out before the first step.
    pub fn generate(u: &mut Unstructured<'_>, menu: Menu, length: usize) -> Result<History> {
        let mut made = Made {
            tasks: 1,
            groups: vec![0],
            at_random: false,
            menu,
        };
        let files = (0..)
            .zip(FILES)
            .map(|(file, (shmem, readonly))| Step::File {
                file,
                len: FILE_LEN,
                shmem,
                readonly,
            });
        let mut steps: Vec<Step> = files.collect();
        steps.push(process(u, 0)?);
        while steps.len() < length && !u.is_empty() {
            steps.push(made.step(u)?);
        }
        Ok(History { steps })
    }
}

impl<'a> Arbitrary<'a> for History {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<History> {
        History::generate(u, Menu::Plain, 60)
    }
}

/// A process of root or of an ordinary user.
fn process(u: &mut Unstructured<'_>, task: TaskIx) -> Result<Step> {
    let uid = *u.choose(&[0, 0, 1000])?;
    Ok(Step::Spawn {
        task,
        uid,
        caps: if uid == 0 { Caps::FULL } else { Caps::NONE },
        memlock: *u.choose(&[8 << 20, 8 << 20, 64 << 10, 0, 1 << 20])?,
        kernel: false,
    })
}

struct Made {
    tasks: TaskIx,
    /// Each task's process, by the first task that was in it.
    groups: Vec<TaskIx>,
    /// A set-id program runs: its image lies elsewhere, and is some pages larger or smaller.
    at_random: bool,
    menu: Menu,
}

fn region_len(region: u16) -> u64 {
    if region < 4 { SMALL } else { LARGE }
}

fn addr(region: u16, offset: u64) -> Addr {
    Addr {
        base: Base::Region(region),
        offset,
    }
}

const ADVICES: &[Madvise] = &[
    Madvise::NORMAL,
    Madvise::RANDOM,
    Madvise::SEQUENTIAL,
    Madvise::WILLNEED,
    Madvise::DONTNEED,
    Madvise::DONTNEED,
    Madvise::FREE,
    Madvise::REMOVE,
    Madvise::DONTFORK,
    Madvise::DOFORK,
    Madvise::MERGEABLE,
    Madvise::UNMERGEABLE,
    Madvise::HUGEPAGE,
    Madvise::HUGEPAGE,
    Madvise::HUGEPAGE,
    Madvise::NOHUGEPAGE,
    Madvise::NOHUGEPAGE,
    Madvise::DONTDUMP,
    Madvise::DODUMP,
    Madvise::WIPEONFORK,
    Madvise::KEEPONFORK,
    Madvise::COLD,
    Madvise::POPULATE_READ,
    Madvise::POPULATE_WRITE,
    Madvise::DONTNEED_LOCKED,
    Madvise::COLLAPSE,
    Madvise::GUARD_INSTALL,
    Madvise::GUARD_REMOVE,
];

impl Made {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<Step> {
        let actor = u.int_in_range(0..=self.tasks - 1)?;
        // Now and then the next process gets a number that somebody had before.
        if self.tasks < TASKS && self.tasks > 1 && u.ratio(1, 30)? {
            return Ok(Step::Recycle(u.int_in_range(1..=self.tasks - 1)?));
        }
        // Now and then another process, perhaps another user's.
        if self.tasks < TASKS && u.ratio(1, 25)? {
            let task = self.tasks;
            self.tasks += 1;
            self.groups.push(task);
            return process(u, task);
        }
        if self.menu == Menu::Policy && u.ratio(1, 5)? {
            return Ok(Step::Do(actor, self.policy(u)?));
        }
        if u.ratio(1, 12)?
            && let Some(call) = self.of_processes(u, actor)?
        {
            return Ok(Step::Do(actor, call));
        }
        let call = match u.int_in_range(0..=99)? {
            0..=13 => map(u)?,
            14..=20 => {
                let (at, len) = range(u)?;
                Call::Unmap(at, len)
            }
            21..=30 => {
                let (at, len) = range(u)?;
                Call::Protect(at, len, prot(u)?, u.ratio(1, 40)?)
            }
            31..=56 => {
                let (at, len) = range(u)?;
                let advice = *u.choose(ADVICES)?;
                Call::Madvise(at, len, unless_split(at, advice))
            }
            57..=76 => touch(u)?,
            77..=83 => match lock(u)? {
                // What the image counts is not the same twice then.
                Call::LockAll(_) if self.at_random => Call::UnlockAll,
                call => call,
            },
            84..=86 => remap(u)?,
            87..=91 => prctl(u, self.menu)?,
            92..=93 => {
                let offset = u.int_in_range(0..=40)? * PAGE / 2;
                Call::Brk(Addr {
                    base: Base::Heap,
                    offset,
                })
            }
            94..=95 => self.policy(u)?,
            96..=97 if self.tasks < TASKS => {
                let kinds = [
                    CloneKind::Fork,
                    CloneKind::Fork,
                    CloneKind::Fork,
                    CloneKind::Vm,
                    CloneKind::Thread,
                    CloneKind::Vfork,
                ];
                let child = self.tasks;
                self.tasks += 1;
                let kind = *u.choose(&kinds)?;
                self.groups.push(match kind {
                    CloneKind::Thread => self.group(actor),
                    _ => child,
                });
                Call::Clone(kind, child)
            }
            98 => Call::Exec {
                set_uid: None,
                script: u.ratio(1, 4)?,
            },
            99 if actor != 0 => *u
                .choose(&[Call::Exit, Call::ExitThread].map(Box::new))?
                .clone(),
            _ => Call::Memlock(*u.choose(&[0, 64 << 10, 1 << 20, 8 << 20])?),
        };
        Ok(Step::Do(actor, call))
    }

    fn group(&self, task: TaskIx) -> TaskIx {
        self.groups.get(usize::from(task)).copied().unwrap_or(task)
    }

    /// What processes do to themselves and to each other.
    fn of_processes(&mut self, u: &mut Unstructured<'_>, actor: TaskIx) -> Result<Option<Call>> {
        let other = u.int_in_range(0..=self.tasks - 1)?;
        let apart = self.group(other) != self.group(actor);
        // Where a deputy with the caller's credentials stands for the library, the caller must be one
        // that it may look at.
        let first = if self.menu == Menu::Policy { 6 } else { 0 };
        Ok(match u.int_in_range(first..=9)? {
            0 | 1 => {
                let script = u.ratio(1, 4)?;
                self.at_random |= !script;
                Some(Call::Exec {
                    set_uid: Some(*u.choose(&[0, 1000])?),
                    script,
                })
            }
            2 => Some(Call::UnshareUser),
            3 | 4 => {
                let value = *u.choose(&[0, 0, 1, 3])?;
                Some(Call::Prctl(Prctl::SetDumpable, [value, 0, 0, 0]))
            }
            5 => {
                // An exec after it may give rights back, and then addresses at random.
                self.at_random = true;
                let caps = *u.choose(&[Caps::NONE, Caps::NONE, Caps::FULL, Caps::SYS_PTRACE])?;
                Some(Call::Become(*u.choose(&[0, 1000, 2000])?, caps))
            }
            // Nobody ends itself: the answer would be lost.
            6 | 7 if apart => Some(Call::Kill(other, *u.choose(&[0, 0, 9, 15])?)),
            8 | 9 if apart => Some(Call::Wait(other)),
            _ => None,
        })
    }

    /// Somebody of the history, mostly oneself.
    fn whom(&self, u: &mut Unstructured<'_>) -> Result<Whom> {
        let other = u.int_in_range(0..=self.tasks - 1)?;
        let fds = [-1, -100, 9999, -10_000, -10_001];
        Ok(match u.int_in_range(0..=23)? {
            0..=9 => Whom::SelfThread,
            10..=12 => Whom::SelfProcess,
            13..=18 => Whom::Task(other),
            19..=22 => Whom::Pid(other, u.ratio(9, 10)?),
            _ => Whom::RawFd(*u.choose(&fds)?),
        })
    }

    fn policy(&self, u: &mut Unstructured<'_>) -> Result<Call> {
        if self.menu == Menu::Plain {
            let whom = *u.choose(&[Whom::SelfThread, Whom::SelfProcess, Whom::Task(0)])?;
            return process_madvise(u, whom);
        }
        let whom = self.whom(u)?;
        match u.int_in_range(0..=9)? {
            0..=4 => {
                let action =
                    *u.choose(&[3, 4, 7, 8, 9, 10, 3, 4, 7, 8, 9, 10, 2, 6, 256, 0, 11, 1, 5])?;
                let flags = if action % 2 == 0 {
                    u32::from(u.ratio(1, 12)?)
                } else {
                    *u.choose(&[1, 1, 1, 1, 1, 1, 2])?
                };
                let how = How {
                    owner_rule: u.ratio(1, 2)?,
                    best_effort: false,
                };
                Ok(Call::Mctl(whom, action, flags, how))
            }
            5 => {
                // process_madvise(2) takes a descriptor.
                let whom = match whom {
                    Whom::Pid(task, _) => Whom::Task(task),
                    whom => whom,
                };
                process_madvise(u, whom)
            }
            _ => pmadvise(u, whom),
        }
    }
}

/// One or two ranges, and an advice that may be given to them.
fn advised_ranges(u: &mut Unstructured<'_>) -> Result<(Vec<(Addr, u64)>, Madvise)> {
    let mut list = vec![range(u)?];
    while list.len() < 4 && u.ratio(2, 5)? {
        list.push(range(u)?);
    }
    let advice = *u.choose(ADVICES)?;
    let advice = list
        .iter()
        .fold(advice, |advice, (at, _)| unless_split(*at, advice));
    Ok((list, advice))
}

fn process_madvise(u: &mut Unstructured<'_>, whom: Whom) -> Result<Call> {
    let (list, advice) = advised_ranges(u)?;
    let flags = u32::from(u.ratio(1, 20)?);
    Ok(Call::ProcessMadvise(whom, advice, flags, list))
}

/// The contract's process_madvise, with its flags.
fn pmadvise(u: &mut Unstructured<'_>, whom: Whom) -> Result<Call> {
    let (list, advice) = advised_ranges(u)?;
    let flags = *u.choose(&[0, 0, 0, 1, 1, 2, 2, 3, 4, 7, 0x70, 0x10, 1 << 7])?;
    if u.ratio(1, 12)? {
        // What is outside the regions is the agent's own: only what it does not feel.
        let advice = *u.choose(&[
            Madvise::HUGEPAGE,
            Madvise::NOHUGEPAGE,
            Madvise::DONTDUMP,
            Madvise::DODUMP,
            Madvise::NORMAL,
        ])?;
        let count = *u.choose(&[u64::MAX, u64::MAX, u64::MAX, 0, 7])?;
        let flags = flags & !4 & !0x70 | 8;
        return Ok(Call::Pmadvise(
            whom,
            advice,
            flags,
            Entries::Null(count),
            false,
        ));
    }
    let destructive = u.ratio(1, 2)?;
    Ok(Call::Pmadvise(
        whom,
        advice,
        flags,
        Entries::List(list),
        destructive,
    ))
}

fn map(u: &mut Unstructured<'_>) -> Result<Call> {
    let region = u.int_in_range(0..=REGIONS - 1)?;
    let whole = u.ratio(2, 3)?;
    let (at, len) = if whole {
        (None, region_len(region))
    } else {
        let (at, len) = range(u)?;
        (Some(at), len)
    };
    let place = if u.ratio(2, 3)? {
        Place::Fixed
    } else {
        Place::Noreplace
    };
    let shared = u.ratio(1, 8)?;
    let source = if region < 4 && u.ratio(1, 5)? {
        let file = u.int_in_range(0..=2)?;
        Source::File(file, u.int_in_range(0..=3)? * 4 * PAGE)
    } else if region >= 4 && u.ratio(1, 24)? {
        Source::Hugetlb
    } else {
        Source::Anon
    };
    let mut switch = |chance: u32| u.ratio(1, chance);
    Ok(Call::Map {
        region: if whole { region } else { REGIONS },
        at,
        len,
        growsdown: switch(16)?,
        locked: switch(12)?,
        populate: switch(12)?,
        noreserve: switch(10)?,
        stack: switch(10)?,
        prot: if u.ratio(3, 4)? {
            VmFlags::READ | VmFlags::WRITE
        } else {
            prot(u)?
        },
        shared,
        place,
        source,
    })
}

/// FREE and COLD split the large folio that they cut, and the kernel then gives the pages that
/// hold only zeroes back; the model does not know what pages hold (docs/model-vs-kernel.md).
fn unless_split(at: Addr, advice: Madvise) -> Madvise {
    let splits = matches!(advice, Madvise::FREE | Madvise::COLD);
    match at.base {
        Base::Region(region) if splits && region >= 4 => Madvise::NORMAL,
        _ => advice,
    }
}

/// A range in one region, mostly of whole pages, and mostly inside.
fn range(u: &mut Unstructured<'_>) -> Result<(Addr, u64)> {
    let region = u.int_in_range(0..=REGIONS - 1)?;
    let whole = region_len(region);
    if u.ratio(1, 4)? {
        return Ok((addr(region, 0), whole));
    }
    let unit = if region < 4 {
        PAGE
    } else {
        *u.choose(&[512 << 10, 1 << 20, 2 << 20])?
    };
    let units = whole / unit;
    let first = u.int_in_range(0..=units - 1)?.min(units - 1);
    let count = u.int_in_range(1..=units - first)?;
    let (mut offset, mut len) = (first * unit, count * unit);
    match u.int_in_range(0..=60)? {
        0 => offset += 1,
        1 => len += 1,
        2 => len = 0,
        3 => len = u64::MAX - u64::from(u.arbitrary::<u8>()?),
        4 => len += PAGE,
        _ => {}
    }
    Ok((addr(region, offset), len))
}

fn prot(u: &mut Unstructured<'_>) -> Result<VmFlags> {
    let rw = VmFlags::READ | VmFlags::WRITE;
    let choices = [VmFlags::NONE, VmFlags::READ, rw, rw, VmFlags::WRITE];
    Ok(*u.choose(&choices)?)
}

fn touch(u: &mut Unstructured<'_>) -> Result<Call> {
    let region = u.int_in_range(0..=REGIONS - 1)?;
    let pages = region_len(region) / PAGE;
    let write = u.ratio(2, 3)?;
    if region < 4 {
        let first = u.int_in_range(0..=pages - 1)?;
        let count = u.int_in_range(1..=(pages - first).min(8))?;
        return Ok(Call::Touch(addr(region, first * PAGE), count * PAGE, write));
    }
    // One page: a huge page behind it costs enough.
    let page = u.int_in_range(0..=pages - 1)?;
    Ok(Call::Touch(addr(region, page * PAGE), PAGE, write))
}

fn lock(u: &mut Unstructured<'_>) -> Result<Call> {
    let (at, len) = range(u)?;
    Ok(match u.int_in_range(0..=11)? {
        0..=3 => Call::Lock(at, len),
        4 => Call::Lock2(at, len, u.int_in_range(0..=2)?),
        5..=7 => Call::Unlock(at, len),
        8..=9 => Call::LockAll(*u.choose(&[1, 2, 2, 3, 4, 5, 6, 7, 0, 8])?),
        _ => Call::UnlockAll,
    })
}

fn remap(u: &mut Unstructured<'_>) -> Result<Call> {
    let (at, old) = range(u)?;
    // Huge pages stay among the large regions.
    let large = matches!(at.base, Base::Region(region) if region >= 4);
    let target = if large {
        u.int_in_range(4..=5)?
    } else {
        u.int_in_range(0..=3)?
    };
    let resize = u.ratio(1, 3)?;
    let new = if resize {
        u.int_in_range(0..=32)? * PAGE
    } else {
        old
    };
    let offset = u.int_in_range(0..=4)? * *u.choose(&[PAGE, 2 << 20])?;
    Ok(Call::Remap {
        at,
        old,
        new,
        // Without a target the kernel would choose a place outside the arena.
        maymove: u.ratio(9, 10)?,
        to: Some(addr(target, offset)),
        dontunmap: u.ratio(1, 6)?,
        result: None,
    })
}

/// On a stock kernel PR_SET_THP_DISABLE is what mctl works by, so that it is told apart from the
/// policy on the model only: histories with mctl do without it.
fn prctl(u: &mut Unstructured<'_>, menu: Menu) -> Result<Call> {
    let all = [
        Prctl::SetThpDisable,
        Prctl::SetThpDisable,
        Prctl::GetThpDisable,
        Prctl::SetMemoryMerge,
        Prctl::GetMemoryMerge,
        Prctl::SetNoNewPrivs,
        Prctl::GetNoNewPrivs,
    ];
    let which = match menu {
        Menu::Plain => *u.choose(&all)?,
        Menu::Policy => *u.choose(all.get(3..).unwrap_or(&all))?,
    };
    let sets = matches!(
        which,
        Prctl::SetThpDisable | Prctl::SetMemoryMerge | Prctl::SetNoNewPrivs
    );
    let mut args = [0; 4];
    if sets {
        args[0] = u.int_in_range(0..=1)?;
        if which == Prctl::SetThpDisable {
            args[1] = *u.choose(&[0, 0, 2, 2, 1])?;
        }
    }
    if u.ratio(1, 12)? {
        args[3] = 1;
    }
    Ok(Call::Prctl(which, args))
}
