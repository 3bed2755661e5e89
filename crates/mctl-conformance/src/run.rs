//! Running a scenario on a backend.

use mctl_abi::{Action, Errno};

use crate::backend::engine::{Short, Told};
use crate::backend::{Answer, Backend, NewFile, Start, Trouble};
use crate::call::{Addr, Call, Look, Step};
use crate::lang::{Line, Names, Scenario, Wanted, WantedOutcome, print_step};
use crate::view::{Scope, View, life_word};

/// What a scenario came to on one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every step came to what it must.
    Holds,
    /// One did not.
    Differs {
        /// The line.
        line: usize,
        /// The step.
        step: String,
        /// What it must come to.
        wanted: String,
        /// What it came to.
        got: String,
    },
    /// It cannot be run here, and why.
    NotPossible(String),
    /// The engine answers `EOPNOTSUPP`, and why.
    Unsupported(String),
}

/// What was seen after one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The step.
    pub step: String,
    /// What it came to.
    pub result: String,
    /// Each task's address space after it, by name.
    pub views: Vec<(String, View)>,
}

/// A backend's answer in words.
#[must_use]
pub fn answer_text(answer: Answer) -> String {
    match answer {
        Ok(0) => "ok".to_owned(),
        Ok(value) => value.to_string(),
        Err(errno) => errno.to_string(),
    }
}

fn wanted_text(wanted: Wanted) -> String {
    match wanted {
        Wanted::Ok => "ok".to_owned(),
        Wanted::Any => "anything".to_owned(),
        Wanted::Value(value) => value.to_string(),
        Wanted::Between(low, high) => format!("{low} to {high}"),
        Wanted::Fails(errno) => errno.to_string(),
    }
}

/// What one step came to: nothing to say, or what it should have been and was.
type Checked = Result<Result<Answer, (String, String)>, Trouble>;

/// Runs a scenario.
pub fn run(scenario: &Scenario, backend: &mut dyn Backend) -> Verdict {
    run_traced(scenario, backend, None)
}

/// Runs a scenario; `frames` gets the address spaces after every step.
pub fn run_traced(
    scenario: &Scenario,
    backend: &mut dyn Backend,
    frames: Option<&mut Vec<Frame>>,
) -> Verdict {
    let known = scenario
        .differs_where
        .iter()
        .find(|(fact, _)| backend.fact(*fact));
    let verdict = run_steps(scenario, backend, frames);
    match (known, verdict) {
        (Some((_, why)), Verdict::Differs { .. }) => {
            Verdict::NotPossible(format!("this kernel differs here: {why}"))
        }
        // A reason that is none any more would hide the next difference.
        (Some((fact, why)), Verdict::Holds) => Verdict::Differs {
            line: 0,
            step: format!("differs-where {}", fact.word()),
            wanted: format!("a difference: {why}"),
            got: "none".to_owned(),
        },
        (_, verdict) => verdict,
    }
}

fn run_steps(
    scenario: &Scenario,
    backend: &mut dyn Backend,
    mut frames: Option<&mut Vec<Frame>>,
) -> Verdict {
    let name = backend.name();
    let model_only = scenario.model_only.iter().filter(|_| name != "model");
    let not_here = scenario
        .not_on
        .iter()
        .filter(|(backend, _)| backend == name);
    if let Some(reason) = model_only.chain(not_here.map(|(_, why)| why)).next() {
        return Verdict::NotPossible(reason.clone());
    }
    if scenario.stock && name == "native" {
        let why = "the case is about kernels that have no mctl() themselves";
        return Verdict::NotPossible(why.to_owned());
    }
    backend.as_stock(scenario.stock);
    if let Err(trouble) = backend.begin(&scenario.needs, &scenario.names) {
        return troubled(&trouble, 0, "begin");
    }
    let mut execed = false;
    for line in &scenario.lines {
        execed |= matches!(line.step, Step::Do(_, Call::Exec { .. }));
        let step = print_step(&line.step, &scenario.names);
        match run_line(line, backend) {
            Ok(Ok(answer)) => {
                if let Some(frames) = frames.as_deref_mut() {
                    frames.push(frame(step, answer, &scenario.names, backend));
                }
            }
            Ok(Err((wanted, got))) => {
                if let Some(said) = foretold(line, execed, backend) {
                    return Verdict::NotPossible(format!("best effort: {said}"));
                }
                return Verdict::Differs {
                    line: line.number,
                    step,
                    wanted,
                    got,
                };
            }
            Err(trouble) => return troubled(&trouble, line.number, &step),
        }
    }
    Verdict::Holds
}

/// What a call before said it could not do, where that is why a step came out otherwise.
fn foretold(line: &Line, execed: bool, backend: &dyn Backend) -> Option<String> {
    let (said, short) = backend.shortfall()?;
    // What only reaches over exec shows nowhere else than after one, and in the exec bits.
    let shows = match short {
        Short::Nowhere => false,
        Short::AtExec => execed || is_policy(&line.step),
        Short::Elsewhere => true,
    };
    shows.then(|| said.to_owned())
}

fn is_policy(step: &Step) -> bool {
    match step {
        Step::Expect(Look::Policy(..)) => true,
        Step::Do(_, Call::Mctl(_, action, ..)) => *action == Action::GetPolicy.number(),
        _ => false,
    }
}

fn troubled(trouble: &Trouble, line: usize, step: &str) -> Verdict {
    match trouble {
        Trouble::NotPossible(why) => Verdict::NotPossible(why.clone()),
        Trouble::Unsupported(why) => Verdict::Unsupported(why.clone()),
        Trouble::Broken(what) => Verdict::Differs {
            line,
            step: step.to_owned(),
            wanted: "a step that can be carried out".to_owned(),
            got: what.clone(),
        },
    }
}

/// Every live task's address space.
pub(crate) fn frame(
    step: String,
    answer: Answer,
    names: &Names,
    backend: &mut dyn Backend,
) -> Frame {
    let mut views = Vec::new();
    for (at, name) in names.tasks.iter().enumerate() {
        let Ok(task) = u16::try_from(at) else { break };
        let scope = Scope {
            status: true,
            everywhere: false,
        };
        if backend.life(task) == Ok(crate::call::Life::Alive)
            && let Ok(view) = backend.observe(task, scope)
        {
            views.push((name.clone(), view));
        }
    }
    Frame {
        step,
        result: answer_text(answer),
        views,
    }
}

/// Runs one line and holds it to what it must come to.
///
/// # Errors
/// Where the backend cannot do it.
pub fn run_line(line: &Line, backend: &mut dyn Backend) -> Checked {
    let answer = match &line.step {
        Step::Spawn {
            task,
            uid,
            caps,
            memlock,
            kernel,
        } => {
            let start = Start {
                uid: *uid,
                caps: *caps,
                memlock: *memlock,
                kernel: *kernel,
            };
            backend.spawn(*task, &start).map(|()| Ok(0))?
        }
        Step::File {
            file,
            len,
            shmem,
            readonly,
        } => {
            let new = NewFile {
                len: *len,
                shmem: *shmem,
                readonly: *readonly,
            };
            backend.file(*file, &new).map(|()| Ok(0))?
        }
        Step::Reclaim(folios) => backend.reclaim(*folios).map(|()| Ok(0))?,
        Step::Recycle(task) => backend.recycle(*task).map(|()| Ok(0))?,
        Step::Do(task, call) => backend.call(*task, call)?,
        Step::Expect(look) => {
            return Ok(match look_at(look, backend)? {
                None => Ok(Ok(0)),
                Some(difference) => Err(difference),
            });
        }
    };
    let right = match line.wanted {
        Wanted::Any => true,
        Wanted::Ok => answer.is_ok(),
        Wanted::Value(value) => answer == Ok(value),
        Wanted::Between(low, high) => answer.is_ok_and(|value| (low..=high).contains(&value)),
        Wanted::Fails(errno) => answer == Err(errno),
    };
    if right && !line.outcome.is_empty() {
        return Ok(match outcome_differs(line, backend.told()) {
            None => Ok(answer),
            Some(difference) => Err(difference),
        });
    }
    // EOPNOTSUPP: this kernel cannot do it exactly (docs/CONTRACT.md#check-cannot).
    if !right && answer == Err(Errno::EOPNOTSUPP) && backend.name() == "stock" {
        let why = backend.reason().unwrap_or("EOPNOTSUPP");
        return Err(Trouble::Unsupported(why.to_owned()));
    }
    Ok(if right {
        Ok(answer)
    } else {
        let mut got = answer_text(answer);
        // The engine's own words, where it was one that failed.
        if answer.is_err()
            && matches!(line.step, Step::Do(_, Call::Mctl(..) | Call::Pmadvise(..)))
            && let Some(reason) = backend.reason()
        {
            got = format!("{got}: {reason}");
        }
        Err((wanted_text(line.wanted), got))
    })
}

/// Where an outcome says something else than it must.
fn outcome_differs(line: &Line, told: Option<Told>) -> Option<(String, String)> {
    let Some(told) = told else {
        return Some((line.outcome.words(), "no outcome".to_owned()));
    };
    let parts = line.outcome.guarantees.iter().zip(told.guarantees);
    let same = parts
        .clone()
        .all(|(wanted, got)| wanted.is_none_or(|wanted| wanted == got))
        && line.outcome.exact.is_none_or(|exact| exact == told.exact);
    let got = WantedOutcome {
        guarantees: told.guarantees.map(Some),
        exact: Some(told.exact),
    };
    (!same).then(|| (line.outcome.words(), got.words()))
}

fn differs<T: PartialEq>(
    wanted: T,
    got: T,
    text: impl Fn(&T) -> String,
) -> Option<(String, String)> {
    (wanted != got).then(|| (text(&wanted), text(&got)))
}

fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn size(bytes: u64) -> String {
    crate::lang::size_text(bytes)
}

/// Looks; `None` where everything is as it must be.
fn look_at(look: &Look, backend: &mut dyn Backend) -> Result<Option<(String, String)>, Trouble> {
    let all = Scope {
        status: false,
        everywhere: true,
    };
    Ok(match look {
        Look::Vma(task, at, has, lacks) => {
            let view = backend.observe(*task, all)?;
            let address = backend.places().resolve(*at);
            match view.at(address) {
                None => Some(("a mapping".to_owned(), "none".to_owned())),
                Some(span) if span.flags.has(*has) && !span.flags.any(*lacks) => None,
                Some(span) => Some((format!("{has} and not {lacks}"), span.flags.to_string())),
            }
        }
        Look::Unmapped(task, at, len, free) => {
            let view = backend.observe(*task, all)?;
            let start = backend.places().resolve(*at);
            let covered: u64 = overlaps(&view, start, *len).map(|(_, bytes)| bytes).sum();
            let wanted = if *free { 0 } else { *len };
            differs(wanted, covered, |bytes| format!("{} mapped", size(*bytes)))
        }
        Look::Rss(task, at, len, wanted) => {
            let got = sum(backend, *task, *at, *len, |span| span.rss)?;
            differs(*wanted, got, |bytes| size(*bytes))
        }
        Look::Huge(task, at, len, wanted) => {
            let got = sum(backend, *task, *at, *len, |span| span.huge)?;
            differs(*wanted, got, |bytes| size(*bytes))
        }
        Look::LockedIn(task, at, len, wanted) => {
            let view = backend.observe(*task, all)?;
            let start = backend.places().resolve(*at);
            let got = overlaps(&view, start, *len)
                .filter(|(span, _)| span.flags.has(mctl_model::VmFlags::LOCKED))
                .map(|(_, bytes)| bytes)
                .sum();
            differs(*wanted, got, |bytes| size(*bytes))
        }
        Look::Eligible(task, at, wanted) => {
            let view = backend.observe(*task, all)?;
            let address = backend.places().resolve(*at);
            let got = view.at(address).is_some_and(|span| span.eligible);
            differs(*wanted, got, |yes| yes_no(*yes))
        }
        Look::Locked(task, wanted) => {
            let (locked, _) = status(backend, *task)?;
            differs(*wanted, locked, |bytes| size(*bytes))
        }
        Look::ThpEnabled(task, wanted) => {
            let (_, enabled) = status(backend, *task)?;
            differs(*wanted, enabled, |yes| yes_no(*yes))
        }
        Look::Policy(task, wanted) => {
            let got = backend.policy(*task)?;
            differs(*wanted, got, |mask| crate::lang::policy_text(*mask))
        }
        Look::Life(task, wanted) => {
            let got = backend.life(*task)?;
            differs(*wanted, got, |life| life_word(*life).to_owned())
        }
        Look::Swapped(_, _, _, wanted)
        | Look::Dirty(_, _, _, wanted)
        | Look::Young(_, _, _, wanted) => {
            let got = backend.measure(look)?;
            differs(*wanted, got, |bytes| size(*bytes))
        }
        Look::Refaults(_, wanted) => {
            let got = backend.measure(look)?;
            differs(*wanted, got, u64::to_string)
        }
        Look::Folios(_, active, inactive) => {
            let got = backend.measure(look)?;
            differs(active << 32 | inactive, got, |both| {
                format!("{} active, {} inactive", both >> 32, both & 0xffff_ffff)
            })
        }
    })
}

fn status(backend: &mut dyn Backend, task: u16) -> Result<(u64, bool), Trouble> {
    let scope = Scope {
        status: true,
        everywhere: false,
    };
    let view = backend.observe(task, scope)?;
    view.status
        .ok_or_else(|| Trouble::broken("no status could be read"))
}

/// The spans that touch a range, with how much of each lies inside.
fn overlaps(
    view: &View,
    start: u64,
    len: u64,
) -> impl Iterator<Item = (&crate::view::Span, u64)> + '_ {
    let end = start.saturating_add(len);
    view.spans.iter().filter_map(move |span| {
        let (low, high) = (span.start.max(start), span.end.min(end));
        (low < high).then(|| (span, high - low))
    })
}

/// Adds something up over a range that must be made of whole spans.
fn sum(
    backend: &mut dyn Backend,
    task: u16,
    at: Addr,
    len: u64,
    of: fn(&crate::view::Span) -> u64,
) -> Result<u64, Trouble> {
    let scope = Scope {
        status: false,
        everywhere: true,
    };
    let view = backend.observe(task, scope)?;
    let start = backend.places().resolve(at);
    let mut total = 0;
    for (span, bytes) in overlaps(&view, start, len) {
        if bytes != span.end - span.start {
            return Err(Trouble::broken(
                "the range cuts a mapping; sizes are told of whole mappings only",
            ));
        }
        total += of(span);
    }
    Ok(total)
}
