//! What comes after a call: in a forked child, after exec, and after the call that undoes it.

use std::collections::BTreeMap;

use crate::consts;
use crate::ir::Spec;

use super::run::{Log, run_all};
use super::script::{Arg, Step};
use super::tried::Tried;

/// Most calls that are followed up.
const MOST: usize = 64;

/// What came after one call.
#[derive(Clone, Debug, Default)]
pub(super) struct Tails {
    pub(super) fork: Option<Log>,
    pub(super) exec: Option<Log>,
    pub(super) undo: Option<Log>,
}

/// By the number of the call.
pub(super) type Followed = BTreeMap<usize, Tails>;

/// The call that undoes another, with its arguments; the first `taken` are those of the call.
struct Opposite {
    call: &'static str,
    undo: &'static str,
    taken: usize,
    more: &'static [i128],
}

const fn opposite(
    call: &'static str,
    undo: &'static str,
    taken: usize,
    more: &'static [i128],
) -> Opposite {
    Opposite {
        call,
        undo,
        taken,
        more,
    }
}

const OPPOSITES: &[Opposite] = &[
    opposite("mlockall", "munlockall", 0, &[]),
    opposite("mlock", "munlock", 2, &[]),
    opposite("mlock2", "munlock", 2, &[]),
    opposite("munlock", "mlock", 2, &[]),
    opposite("munlockall", "mlockall", 0, &[3]),
    opposite("prctl_set_thp_disable", "prctl", 1, &[0, 0, 0, 0]),
    opposite("prctl_set_memory_merge", "prctl", 1, &[0, 0, 0, 0]),
];

/// Whether there is a call that would undo it.
fn undoing(call: &str, args: &[Arg]) -> Option<Step> {
    if call == "pidfd_open" {
        return Some(Step::Call {
            number: consts::syscall_number("close")?,
            args: vec![Arg::Returned],
            name: "undo".to_owned(),
        });
    }
    let found = OPPOSITES.iter().find(|o| o.call == call)?;
    Some(Step::Call {
        number: consts::syscall_number(found.undo)?,
        args: args
            .iter()
            .take(found.taken)
            .cloned()
            .chain(found.more.iter().map(|n| Arg::Number(*n)))
            .collect(),
        name: "undo".to_owned(),
    })
}

/// Follows the plain successes up, as far as the specification asks for it; answers also the
/// scripts, for the log.
pub(super) fn follow(
    spec: &Spec,
    number: u32,
    tried: &[Tried],
) -> (Followed, Vec<(Vec<Step>, Log)>) {
    let call = spec.call_name();
    let rules: Vec<&str> = spec
        .constraints
        .iter()
        .map(|c| &c.expression)
        .chain(spec.side_effects.iter().map(|e| &e.expression))
        .filter_map(|e| e.as_deref())
        .collect();
    // What a rule establishes is worth following, whatever its description says of exec and fork.
    let asks = |word: &str| {
        rules
            .iter()
            .any(|rule| rule.contains(word) || rule.contains("|=") || rule.contains("&="))
    };
    let look = |name: &str| vec![Step::Map("after".to_owned()), Step::Look(name.to_owned())];
    let mut keys = Vec::new();
    let mut scripts = Vec::new();
    for t in tried.iter().filter(|t| t.is_plain_success()).take(MOST) {
        let mut add = |which: u8, tail: Vec<Step>| {
            keys.push((t.number, which));
            scripts.push(t.case.steps(call, number, tail));
        };
        if asks("fork(") {
            add(0, vec![Step::Fork(look("fork"))]);
        }
        if asks("exec(") {
            add(1, vec![Step::Exec(look("exec"))]);
        }
        if let Some(undo) = undoing(call, &t.case.args).filter(|_| !spec.side_effects.is_empty()) {
            let tail = [undo].into_iter().chain(look("undone")).collect();
            add(2, tail);
        }
    }
    let logs = run_all(&scripts);
    let mut followed = Followed::new();
    for ((number, which), log) in keys.iter().zip(&logs) {
        let tails = followed.entry(*number).or_default();
        let slot = match which {
            0 => &mut tails.fork,
            1 => &mut tails.exec,
            _ => &mut tails.undo,
        };
        *slot = Some(log.clone());
    }
    (followed, scripts.into_iter().zip(logs).collect())
}
