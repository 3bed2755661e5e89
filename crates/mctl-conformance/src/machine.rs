//! The policy machine, written out whole: every state of a policy record, and where each call, fork and exec leads
//! from it. It is asked of mctl-abi, never said again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mctl_abi::{ACTIONS, Flags, Policy, Request};

use crate::lang::policy_text;

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call that is valid.
    Call(Request),
    /// fork(2): the child's record.
    Fork,
    /// execve(2).
    Exec,
}

impl Event {
    /// Every one.
    #[must_use]
    pub fn all() -> Vec<Event> {
        let flags = [Flags::NONE, Flags::DEFAULT_EXEC];
        let calls = ACTIONS.iter().filter(|info| info.effect.is_some());
        let requests = calls.flat_map(|info| {
            // A flag that an action does not take is no request.
            flags
                .into_iter()
                .filter_map(|flags| Request::new(info.action, flags).ok())
        });
        let mut events: Vec<Event> = requests.map(Event::Call).collect();
        events.extend([Event::Fork, Event::Exec]);
        events
    }

    /// What it is called.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Event::Call(request) => {
                let exec = if request.flags().default_exec() {
                    "/exec"
                } else {
                    ""
                };
                format!("{}{exec}", request.action().info().c_name)
            }
            Event::Fork => "fork".to_owned(),
            Event::Exec => "exec".to_owned(),
        }
    }

    /// The record after it.
    #[must_use]
    pub fn after(self, policy: Policy) -> Policy {
        match self {
            Event::Call(request) => policy.apply(request),
            Event::Fork => policy.on_fork(),
            Event::Exec => policy.on_exec(),
        }
    }
}

/// Every state that can be reached from a fresh process, in the order of their masks.
#[must_use]
pub fn states() -> Vec<Policy> {
    let events = Event::all();
    let mut known = BTreeSet::from([Policy::INHERIT.mask()]);
    let mut queue = vec![Policy::INHERIT];
    while let Some(policy) = queue.pop() {
        for event in &events {
            let next = event.after(policy);
            if known.insert(next.mask()) {
                queue.push(next);
            }
        }
    }
    known.into_iter().filter_map(Policy::from_mask).collect()
}

/// As a table in reStructuredText, as the kernel's documentation has them: a row a state, a column an event.
#[must_use]
pub fn table() -> String {
    let events = Event::all();
    let mut out = String::from(
        ".. list-table:: Where each call, fork and exec leads from each state of the policy record\n   :header-rows: 1\n\n",
    );
    let row = |out: &mut String, cells: Vec<String>| {
        for (at, cell) in cells.iter().enumerate() {
            let begin = if at == 0 { "   * -" } else { "     -" };
            let _ = writeln!(out, "{begin} {cell}");
        }
    };
    let mut head = vec!["state".to_owned()];
    head.extend(events.iter().map(|event| event.words()));
    row(&mut out, head);
    for policy in states() {
        let mut cells = vec![policy_text(policy.mask())];
        cells.extend(events.iter().map(|event| {
            let next = event.after(policy);
            if next == policy {
                "=".to_owned()
            } else {
                policy_text(next.mask())
            }
        }));
        row(&mut out, cells);
    }
    out
}

/// As a graph for Graphviz: an edge for all events that lead from one state to another; those that change nothing
/// are left out.
#[must_use]
pub fn dot() -> String {
    let events = Event::all();
    let mut out = String::from("digraph policy {\n  rankdir=LR;\n  node [shape=box];\n");
    let mut edges: BTreeMap<(u32, u32), Vec<String>> = BTreeMap::new();
    for policy in states() {
        let _ = writeln!(
            out,
            "  s{} [label=\"{}\"];",
            policy.mask(),
            policy_text(policy.mask())
        );
        for event in &events {
            let next = event.after(policy);
            if next != policy {
                let edge = (policy.mask(), next.mask());
                edges.entry(edge).or_default().push(event.words());
            }
        }
    }
    for ((from, to), words) in edges {
        let _ = writeln!(out, "  s{from} -> s{to} [label=\"{}\"];", words.join("\\n"));
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use mctl_abi::PolicyKind;

    use super::*;

    #[test]
    fn every_state_there_can_be_and_no_other() {
        // Three THP policies and none, each but none with and without exec; merging off, on, on with exec; fade.
        let states = states();
        assert_eq!(states.len(), (1 + 3 * 2) * 3 * 2);
        for policy in states {
            let thp = [
                PolicyKind::Hugepage,
                PolicyKind::Nohugepage,
                PolicyKind::HugepageAdvised,
            ];
            assert!(thp.iter().filter(|kind| policy.has(**kind)).count() <= 1);
            assert!(!policy.on_fork().has(PolicyKind::FadeOnDeath));
            assert!(!policy.on_exec().has(PolicyKind::FadeOnDeath));
        }
    }

    #[test]
    fn both_forms_have_every_state_and_event() {
        let (table, dot) = (table(), dot());
        for policy in states() {
            let words = policy_text(policy.mask());
            assert!(table.contains(&format!("   * - {words}\n")), "{words}");
            assert!(dot.contains(&format!("[label=\"{words}\"]")), "{words}");
        }
        for event in Event::all() {
            assert!(table.contains(&format!("- {}\n", event.words())));
            assert!(dot.contains(&event.words()), "{}", event.words());
        }
    }

    /// The pages in the repository are what this writes.
    #[test]
    fn the_pages_are_current() {
        for (page, text) in [
            (include_str!("../../../docs/policy-machine.rst"), table()),
            (include_str!("../../../docs/policy-machine.dot"), dot()),
        ] {
            assert!(
                page == text,
                "cargo run -p mctl-conformance -- machine --write docs"
            );
        }
    }
}
