//! Two backends, one history.

use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use mctl_abi::{Errno, PolicyKind};
use mctl_model::CloneKind;

use super::generate::{History, Menu};
use super::shrink::shrink;
use crate::backend::{Answer, Backend, Trouble};
use crate::call::{Call, Life, Prctl, Step, TaskIx, Whom};
use crate::lang::{Line, Needs, Scenario, Wanted, WantedOutcome, print_scenario, print_step};
use crate::run::{answer_text, run_line};
use crate::view::{Scope, View};

/// A step after which two backends differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Its place in the history.
    pub step: usize,
    /// What differs.
    pub what: String,
    /// The first backend's side.
    pub left: String,
    /// The second's.
    pub right: String,
}

/// What to do, and for how long.
#[derive(Clone, Debug)]
pub struct FuzzOptions {
    /// What the histories may hold.
    pub menu: Menu,
    /// Where random numbers begin; the same seed makes the same histories.
    pub seed: u64,
    /// When to stop.
    pub time: Duration,
    /// Or after this many steps.
    pub steps: u64,
    /// Steps in one history.
    pub length: usize,
    /// Give up after this many disagreements.
    pub stop_after: usize,
    /// The host's knobs.
    pub needs: Needs,
}

impl Default for FuzzOptions {
    fn default() -> FuzzOptions {
        FuzzOptions {
            menu: Menu::Plain,
            seed: 1,
            time: Duration::from_secs(5),
            steps: u64::MAX,
            length: 60,
            stop_after: 1,
            needs: Needs::default(),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct FuzzReport {
    /// Steps that were compared.
    pub steps: u64,
    /// Histories.
    pub histories: u64,
    /// How long it took.
    pub time: Duration,
    /// Disagreements that did not come again when the same history was run twice more: the
    /// host's background work (khugepaged, reclaim) shows like this.
    pub not_reproduced: u64,
    /// Disagreements, each shrunk, as scenarios with the second backend's results.
    pub disagreements: Vec<(Disagreement, String)>,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            for (to, from) in chunk.iter_mut().zip(self.next().to_le_bytes()) {
                *to = from;
            }
        }
    }
}

/// Runs random histories on both until the time is up.
///
/// # Errors
/// Where a backend is broken or cannot run at all.
pub fn fuzz(
    options: &FuzzOptions,
    left: &mut dyn Backend,
    right: &mut dyn Backend,
) -> Result<FuzzReport, Trouble> {
    let begin = Instant::now();
    let mut report = FuzzReport::default();
    let mut random = Random(options.seed);
    let mut bytes = vec![0; options.length * 24];
    while begin.elapsed() < options.time && report.steps < options.steps {
        random.fill(&mut bytes);
        let mut source = Unstructured::new(&bytes);
        let Ok(history) = History::generate(&mut source, options.menu, options.length) else {
            continue;
        };
        report.histories += 1;
        let (done, found) = compare_history(&history, &options.needs, left, right)?;
        report.steps += done;
        if found.is_none() {
            continue;
        }
        let mut again = |history: &History| {
            for _ in 0..2 {
                let (_, found) = compare_history(history, &options.needs, left, right)?;
                if found.is_none() {
                    return Ok(false);
                }
            }
            Ok::<bool, Trouble>(true)
        };
        if !again(&history)? {
            report.not_reproduced += 1;
            continue;
        }
        let small = shrink(&history, &mut again)?;
        let (_, found) = compare_history(&small, &options.needs, left, right)?;
        if let Some(found) = found {
            let text = counter_example(&small, &found, &options.needs, right);
            report.disagreements.push((found, text));
        }
        if report.disagreements.len() >= options.stop_after {
            break;
        }
    }
    report.time = begin.elapsed();
    Ok(report)
}

/// The scenario of a disagreement, with the results that `right` gives.
fn counter_example(
    history: &History,
    found: &Disagreement,
    needs: &Needs,
    right: &mut dyn Backend,
) -> String {
    let mut wanted = Vec::new();
    if right.begin(needs, &History::names()).is_ok() {
        for step in &history.steps {
            wanted.push(match perform(step, right) {
                Ok(Ok(0)) => Wanted::Ok,
                Ok(Ok(value)) => Wanted::Value(value),
                Ok(Err(errno)) => Wanted::Fails(errno),
                Err(_) => Wanted::Any,
            });
        }
    }
    let scenario = Scenario {
        needs: needs.clone(),
        ..history.to_scenario("a counter-example", &wanted)
    };
    let mut text = print_scenario(&scenario);
    let names = History::names();
    let step = history.steps.get(found.step);
    let step = step.map_or_else(String::new, |step| print_step(step, &names));
    text.push_str(&format!(
        "# after step {}: {step}: {}\n",
        found.step + 1,
        found.what
    ));
    for (name, side) in [("left", &found.left), ("right", &found.right)] {
        text.push_str(&format!("# {name}:\n"));
        for line in side.lines() {
            text.push_str(&format!("#   {line}\n"));
        }
    }
    text
}

fn perform(step: &Step, backend: &mut dyn Backend) -> Result<Answer, Trouble> {
    let line = Line {
        number: 0,
        step: step.clone(),
        wanted: Wanted::Any,
        outcome: WantedOutcome::default(),
    };
    match run_line(&line, backend)? {
        Ok(answer) => Ok(answer),
        Err((wanted, got)) => Err(Trouble::Broken(format!("{wanted}, {got}"))),
    }
}

const FULL: Scope = Scope {
    status: true,
    everywhere: false,
};

/// Runs one history on both; how many steps were compared, and where they first differ.
///
/// # Errors
/// Where a backend is broken. A step that one of them cannot do ends the history.
pub fn compare_history(
    history: &History,
    needs: &Needs,
    left: &mut dyn Backend,
    right: &mut dyn Backend,
) -> Result<(u64, Option<Disagreement>), Trouble> {
    let names = History::names();
    left.begin(needs, &names)?;
    right.begin(needs, &names)?;
    let mut done = 0;
    // THP_enabled tells the mechanism, not the policy, once mctl has been used.
    let mut masked = false;
    let mut vforked = false;
    // A thread's own number is no process's.
    let mut threads: Vec<TaskIx> = Vec::new();
    let mut tasks: Vec<TaskIx> = Vec::new();
    let mut spent: Vec<TaskIx> = Vec::new();
    for (at, step) in history.steps.iter().enumerate() {
        let differs = |what: &str, left: String, right: String| Disagreement {
            step: at,
            what: what.to_owned(),
            left,
            right,
        };
        if let Step::Recycle(task) = step {
            // Only the number of a process that is dead on both sides is free.
            let gone = tasks.contains(task)
                && !threads.contains(task)
                && left.life(*task)? == Life::Gone
                && right.life(*task)? == Life::Gone;
            if !gone || spent.contains(task) {
                continue;
            }
            // Whoever comes next has it, for good.
            spent.push(*task);
        }
        // The making of its actor was refused, or shrunk away.
        if matches!(step, Step::Do(actor, _) if !tasks.contains(actor))
            || named(step).is_some_and(|task| !tasks.contains(&task))
            || by_number(step).is_some_and(|task| threads.contains(&task))
        {
            continue;
        }
        let (a, b) = match (perform(step, left), perform(step, right)) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(Trouble::NotPossible(_) | Trouble::Unsupported(_)), _)
            | (_, Err(Trouble::NotPossible(_) | Trouble::Unsupported(_))) => break,
            (Err(trouble), _) | (_, Err(trouble)) => {
                let done = History {
                    steps: history.steps.iter().take(at + 1).cloned().collect(),
                };
                let text = print_scenario(&done.to_scenario("broken at the last step", &[]));
                return Err(Trouble::Broken(format!("{trouble} in\n{text}")));
            }
        };
        done += 1;
        let policy = matches!(step, Step::Do(_, Call::Mctl(..) | Call::Pmadvise(..)));
        masked |= policy;
        if let Step::Do(_, Call::Clone(CloneKind::Thread, child)) = step {
            threads.push(*child);
        }
        vforked |= matches!(step, Step::Do(_, Call::Clone(CloneKind::Vfork, _)));
        if policy && a != b && b == Err(Errno::EOPNOTSUPP) {
            // This kernel cannot do it exactly, and has said so: the histories part here.
            break;
        }
        let short = matches!(step, Step::Do(_, Call::Pmadvise(..)));
        if policy && a != b && (short || b == Err(Errno::EBUSY)) && vforked {
            // A parent inside vfork(2) is out of a stock kernel's reach (docs/CONTRACT.md#check-unreachable).
            break;
        }
        if a != b {
            let found = differs("the result", answer_text(a), answer_text(b));
            return Ok((done, Some(found)));
        }
        match step {
            Step::Spawn { task, .. } => tasks.push(*task),
            Step::Do(_, Call::Clone(_, child)) if a.is_ok() => tasks.push(*child),
            Step::Do(..) => {}
            _ => continue,
        }
        // Everybody: a call may do something to another one.
        for task in tasks.iter().copied() {
            if let Some((what, l, r)) = compare_task(task, masked, left, right)? {
                let what = format!(
                    "{what} of {}",
                    names.tasks.get(usize::from(task)).map_or("", |n| n)
                );
                return Ok((done, Some(differs(&what, l, r))));
            }
        }
    }
    Ok((done, None))
}

/// The task that a step names beside its actor.
fn named(step: &Step) -> Option<TaskIx> {
    let Step::Do(_, call) = step else { return None };
    match call {
        Call::Mctl(whom, ..) | Call::ProcessMadvise(whom, ..) | Call::Pmadvise(whom, ..) => {
            match whom {
                Whom::Task(task) | Whom::Pid(task, _) => Some(*task),
                _ => None,
            }
        }
        Call::Kill(task, _) | Call::Wait(task) => Some(*task),
        _ => None,
    }
}

/// The task whose number a step names.
fn by_number(step: &Step) -> Option<TaskIx> {
    match step {
        Step::Do(
            _,
            Call::Mctl(Whom::Pid(task, _), ..) | Call::Pmadvise(Whom::Pid(task, _), ..),
        ) => Some(*task),
        _ => None,
    }
}

/// The policy record as the task itself is told it, by prctl(2). With `masked`, where mctl has been
/// used, the first side's record against the switch by which a stock kernel keeps it.
fn record_differs(
    task: TaskIx,
    masked: bool,
    left: &mut dyn Backend,
    right: &mut dyn Backend,
) -> Result<Option<(String, String, String)>, Trouble> {
    for which in [
        Prctl::GetThpDisable,
        Prctl::GetMemoryMerge,
        Prctl::GetNoNewPrivs,
    ] {
        let call = Call::Prctl(which, [0; 4]);
        let mut a = left.call(task, &call)?;
        let b = right.call(task, &call)?;
        if masked && which == Prctl::GetThpDisable && a.is_ok() {
            let mask = left.policy(task)?;
            a = Ok(if mask & PolicyKind::Nohugepage.bit() != 0 {
                1
            } else if mask & PolicyKind::HugepageAdvised.bit() != 0 {
                3
            } else {
                0
            });
        }
        if a != b {
            let what = format!("the record ({which:?})");
            return Ok(Some((what, answer_text(a), answer_text(b))));
        }
    }
    Ok(None)
}

/// Where two backends differ in a task: what, and each side's. With `masked`, where mctl has been used, THP_enabled
/// does not count: it tells a stock kernel's mechanism.
pub(crate) fn compare_task(
    task: TaskIx,
    masked: bool,
    left: &mut dyn Backend,
    right: &mut dyn Backend,
) -> Result<Option<(String, String, String)>, Trouble> {
    let (a, b) = (left.life(task)?, right.life(task)?);
    if a != b {
        return Ok(Some((
            "life".to_owned(),
            format!("{a:?}"),
            format!("{b:?}"),
        )));
    }
    if a != Life::Alive {
        return Ok(None);
    }
    let (mut a, mut b): (View, View) = (left.observe(task, FULL)?, right.observe(task, FULL)?);
    if masked {
        for status in [&mut a.status, &mut b.status] {
            *status = status.map(|(locked, _)| (locked, true));
        }
    }
    if a == b {
        return record_differs(task, masked, left, right);
    }
    Ok(Some((
        "the address space".to_owned(),
        a.to_string(),
        b.to_string(),
    )))
}
