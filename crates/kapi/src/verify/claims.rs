//! What a clause claims that can be looked at, and whether a look bears it out.

use super::script::{DESCRIPTORS, Region, View};

/// Something observable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Existing mappings get this smaps flag (or lose it).
    Existing(&'static str, bool),
    /// Later mappings get this smaps flag (or not).
    Future(&'static str, bool),
    /// `VmLck` rises (or is 0).
    Counter(bool),
    /// Existing mappings are populated at once.
    Populated,
    /// Nothing is populated before it is touched.
    OnFault,
    /// The caller has a descriptor more.
    Descriptor,
    /// `THP_enabled` is 0 (or 1).
    ThpDisabled(bool),
    /// The state is kept over exec (or not).
    Exec(bool),
    /// A forked child has the state (or not).
    Fork(bool),
}

/// Names of VMA flags and what smaps calls them.
const FLAGS: &[(&str, &str)] = &[
    ("vm_lockonfault", "lf"),
    ("vm_locked", "lo"),
    ("vm_nohugepage", "nh"),
    ("vm_hugepage", "hg"),
    ("vm_mergeable", "mg"),
    ("vm_seq_read", "sr"),
    ("vm_rand_read", "rr"),
    ("vm_dontcopy", "dc"),
    ("vm_dontdump", "dd"),
    ("vm_wipeonfork", "wf"),
];

/// Everything that `text` claims. Negations within the sentence count.
pub(super) fn claims(text: &str) -> Vec<Claim> {
    let mut found = Vec::new();
    for sentence in text.split(['.', ';', '\n']) {
        sentence_claims(&sentence.to_lowercase(), &mut found);
    }
    found.dedup();
    found
}

fn any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|w| text.contains(w))
}

fn sentence_claims(s: &str, found: &mut Vec<Claim>) {
    let negated = any(
        s,
        &[
            "not ",
            "never",
            "cleared",
            "clears",
            "removes",
            "removed",
            "lost",
            "drops",
            "no longer",
        ],
    );
    let mut add = |claim: Claim| {
        if !found.contains(&claim) {
            found.push(claim);
        }
    };
    if s.contains("exec")
        && any(
            s,
            &[
                "persist", "surviv", "preserv", "inherit", "kept", "retain", "cleared", "lost",
            ],
        )
        && !s.contains("executed") | s.contains("execve")
    {
        add(Claim::Exec(!negated));
    }
    if any(s, &["fork", "child"]) && any(s, &["inherit", "preserv", "copied"]) {
        add(Claim::Fork(!negated));
    }
    // Such a sentence speaks of what becomes of the state, not of the call itself.
    if found
        .iter()
        .any(|c| matches!(c, Claim::Exec(_) | Claim::Fork(_)))
        && any(s, &["exec", "fork", "child"])
    {
        return;
    }
    let mut add = |claim: Claim| {
        if !found.contains(&claim) {
            found.push(claim);
        }
    };
    let unlock = any(s, &["unlock", "clears vm_locked"]);
    let future = any(s, &["future", "def_flags", "new mapping", "later mapping"]);
    let mut flagged = false;
    for (name, flag) in FLAGS {
        if s.contains(name) {
            flagged = true;
            let set = !any(s, &["clears", "clear ", "removes"]);
            add(if future {
                Claim::Future(flag, set)
            } else {
                Claim::Existing(flag, set)
            });
        }
    }
    let locking = any(s, &["lock"]) && !any(s, &["mmap_lock", "lru_lock"]);
    if locking && !flagged {
        if future {
            add(Claim::Future("lo", !unlock && !negated));
        } else if any(
            s,
            &[
                "all current",
                "current pages",
                "all pages",
                "existing",
                "memory areas",
                "vma",
                "in ram",
                "all memory pages",
            ],
        ) {
            add(Claim::Existing("lo", !unlock));
        }
    }
    if locking
        && any(
            s,
            &[
                "locked_vm",
                "counter",
                "counted",
                "vmlck",
                "all memory locked",
            ],
        )
    {
        add(Claim::Counter(!any(s, &["decreas", "unlock", "reset"])));
    }
    if any(
        s,
        &[
            "rather than immediately",
            "when faulted",
            "lock on fault",
            "until page fault",
            "on first touch",
        ],
    ) {
        add(Claim::OnFault);
    } else if any(s, &["populat", "prefault"]) && !negated {
        add(Claim::Populated);
    }
    if s.contains("new descriptor") {
        add(Claim::Descriptor);
    }
    if s.contains("thp_enabled")
        || s.contains("thp_disable") && any(s, &["in force", "takes effect", "disabled"])
    {
        add(Claim::ThpDisabled(!any(
            s,
            &["thp_enabled to 1", "cleared", "enabled again"],
        )));
    }
}

/// The state that a call is about, for questions of inheritance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    Lock,
    Thp,
    Merge,
}

impl Domain {
    /// By what the specification speaks of.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        if text.contains("thp") {
            Some(Self::Thp)
        } else if text.contains("memory_merge") || text.contains("vm_merge") {
            Some(Self::Merge)
        } else if text.contains("lock") {
            Some(Self::Lock)
        } else {
            None
        }
    }

    /// Whether the state is in force in a view, and how that shows.
    pub(super) fn in_force(self, view: &View) -> (bool, String) {
        let region = view
            .regions
            .get("after")
            .or_else(|| view.regions.get("before"));
        let has = |flag: &str| region.is_some_and(|r| r.flags.iter().any(|f| f == flag));
        match self {
            Self::Lock => {
                let kb = view.status.get("VmLck").copied().unwrap_or(0);
                let word = if has("lo") { "has" } else { "does not have" };
                (
                    kb > 0 || has("lo"),
                    format!("VmLck is {kb} kB and a new mapping {word} `lo`"),
                )
            }
            Self::Thp => {
                let enabled = view.status.get("THP_enabled").copied();
                (
                    enabled == Some(0),
                    format!(
                        "THP_enabled is {}",
                        enabled.map_or_else(|| "not shown".to_owned(), |n| n.to_string())
                    ),
                )
            }
            Self::Merge => (
                has("mg"),
                format!(
                    "a new mapping {} `mg`",
                    if has("mg") { "has" } else { "does not have" }
                ),
            ),
        }
    }
}

/// Whether a claim about one call holds between two views; `None` where they cannot tell.
pub(super) fn holds(claim: &Claim, before: &View, after: &View) -> Option<(bool, String)> {
    let region = |name: &str| after.regions.get(name);
    let flag = |r: &Region, flag: &str, wanted: bool, what: &str| {
        let has = r.flags.iter().any(|f| f == flag);
        (
            has == wanted,
            format!(
                "{what} {} `{flag}`",
                if has { "has" } else { "does not have" }
            ),
        )
    };
    let lck = |v: &View| v.status.get("VmLck").copied().unwrap_or(0);
    Some(match claim {
        Claim::Existing(name, wanted) => {
            flag(region("before")?, name, *wanted, "an existing mapping")
        }
        Claim::Future(name, wanted) => flag(region("after")?, name, *wanted, "a later mapping"),
        Claim::Counter(up) => {
            let (a, b) = (lck(before), lck(after));
            // Nothing could be locked first (RLIMIT_MEMLOCK): then nothing goes.
            if !*up && a == 0 && b == 0 {
                return None;
            }
            (
                if *up { b > a } else { b == 0 && a > 0 },
                format!("VmLck goes from {a} to {b} kB"),
            )
        }
        Claim::Populated => {
            let r = region("before")?;
            (
                r.rss_kb >= r.size_kb
                    && before
                        .regions
                        .get("before")
                        .is_some_and(|b| b.rss_kb < r.rss_kb),
                format!(
                    "{} of {} kB of an untouched mapping are resident",
                    r.rss_kb, r.size_kb
                ),
            )
        }
        Claim::OnFault => {
            let r = region("before")?;
            let marked = r.flags.iter().any(|f| f == "lo");
            (
                r.rss_kb < r.size_kb && marked,
                format!(
                    "{} of {} kB of an untouched mapping are resident, and it {} `lo`",
                    r.rss_kb,
                    r.size_kb,
                    if marked { "has" } else { "does not have" }
                ),
            )
        }
        Claim::Descriptor => {
            let count = |v: &View| v.status.get(DESCRIPTORS).copied();
            let (a, b) = (count(before)?, count(after)?);
            (
                b == a + 1,
                format!("the caller has {a}, then {b} descriptors"),
            )
        }
        Claim::ThpDisabled(wanted) => {
            let enabled = after.status.get("THP_enabled").copied()?;
            (
                (enabled == 0) == *wanted,
                format!("THP_enabled is {enabled}"),
            )
        }
        Claim::Exec(_) | Claim::Fork(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        assert_eq!(
            claims("What MCL_FUTURE set in mm->def_flags survives execve()."),
            [Claim::Exec(true)]
        );
        assert_eq!(
            claims("A forked child does not inherit any lock."),
            [Claim::Fork(false)]
        );
        assert_eq!(
            claims("Whatever is mapped in future has VM_LOCKED (mm->def_flags)"),
            [Claim::Future("lo", true)]
        );
        assert_eq!(claims("Populates all there is"), [Claim::Populated]);
        assert_eq!(
            claims("Page tables may be populated on the way"),
            [Claim::Populated]
        );
        assert_eq!(claims("A page is locked on first touch"), [Claim::OnFault]);
    }

    #[test]
    fn a_counter_that_was_nothing_shows_no_fall() {
        let view = |kb: u64| View {
            status: [("VmLck".to_owned(), kb)].into(),
            ..View::default()
        };
        let falls = |a, b| holds(&Claim::Counter(false), &view(a), &view(b));
        assert_eq!(falls(0, 0), None, "its limit let it lock nothing");
        assert!(falls(8, 0).is_some_and(|(holds, _)| holds));
        assert!(falls(8, 4).is_some_and(|(holds, _)| !holds));
        assert!(falls(0, 4).is_some_and(|(holds, _)| !holds));
        let rises = holds(&Claim::Counter(true), &view(0), &view(0));
        assert!(rises.is_some_and(|(holds, _)| !holds));
    }
}
