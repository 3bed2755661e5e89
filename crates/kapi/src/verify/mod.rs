//! Live verification: makes the calls that a specification speaks of, in throw-away processes,
//! and says of each clause whether the running kernel bears it out.
//!
//! Nothing is validated in front of a call and no error number is changed: the call is made, the
//! outcome is compared. What cannot be seen from outside is said to be so, never assumed.
//!
//! Verdicts come from what a machine can read; every one has its witnesses, the calls that it
//! rests on, which [`replay`] makes again. Prose is never judged: at most it is said what was
//! observed.

pub mod agent;
mod bind;
mod effects;
mod judge;
mod log;
mod look;
mod plan;
mod privileges;
mod run;
mod scene;
pub mod script;
mod state;
mod tried;
mod typed;
mod values;

pub(crate) use bind::{CType, c_type};
pub use log::{Entry, Replayed, replay};
pub(crate) use typed::typed;

use serde::Serialize;

use crate::clause::Clause;
use crate::consts;
use crate::ir::Spec;

/// Calls that are known to harm nobody but their caller. Others need an explicit word.
pub const HARMLESS: [&str; 11] = [
    "mlock",
    "mlock2",
    "munlock",
    "mlockall",
    "munlockall",
    "madvise",
    "process_madvise",
    "mincore",
    "pidfd_open",
    "pidfd_send_signal",
    "prctl",
];

/// What became of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The kernel does otherwise; the evidence says how.
    Contradicted,
    /// Looked for, never seen.
    NotObserved,
    /// Calls that would have come out otherwise, had the clause been wrong, came out as it says.
    Confirmed,
    /// What could be seen agrees, but words are not judged, or the calls would agree with other
    /// clauses as well.
    Observed,
    /// User space cannot see it.
    NotObservable,
    /// It was not tried; the evidence says why.
    NotAttempted,
}

impl Verdict {
    /// As printed.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Contradicted => "CONTRADICTED",
            Self::NotObserved => "not observed",
            Self::Confirmed => "confirmed",
            Self::Observed => "observed",
            Self::NotObservable => "not observable",
            Self::NotAttempted => "not attempted",
        }
    }
}

/// A clause with its verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The clause.
    pub clause: Clause,
    /// What became of it.
    pub verdict: Verdict,
    /// What was seen, or why nothing was.
    pub evidence: Vec<String>,
    /// The calls that it rests on, by their numbers in the log.
    pub witnesses: Vec<usize>,
}

/// The result for one call.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// The call.
    pub call: String,
    /// The kernel's release and machine.
    pub kernel: String,
    /// Calls made.
    pub calls: usize,
    /// Whether the kernel has the call.
    pub present: bool,
    /// Every clause.
    pub findings: Vec<Finding>,
    /// Every call with what was seen, in order of their numbers.
    #[serde(skip)]
    pub log: Vec<Entry>,
}

/// Why a call is not verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody vouches for it.
    #[error("`{0}` is not known to harm only its caller; --dangerous verifies it all the same")]
    Dangerous(String),
}

/// The system call behind a specification: its own name, or the multiplexer that it belongs to
/// (`prctl_set_thp_disable` is a `prctl`).
pub(crate) fn syscall_of(spec: &Spec) -> Option<(&str, u32)> {
    let mut name = spec.call_name();
    loop {
        if let Some(number) = consts::syscall_number(name) {
            return Some((name, number));
        }
        name = name.rsplit_once('_')?.0;
    }
}

/// Verifies one specification.
///
/// # Errors
///
/// [`Refused`] for a call that may harm others, unless `dangerous`.
pub fn verify(spec: &Spec, dangerous: bool) -> Result<Verification, Refused> {
    let found = syscall_of(spec);
    if let Some((name, _)) = found
        && !HARMLESS.contains(&name)
        && !dangerous
    {
        return Err(Refused::Dangerous(name.to_owned()));
    }
    let uname = rustix::system::uname();
    let kernel = format!(
        "{} {}",
        uname.release().to_string_lossy(),
        uname.machine().to_string_lossy()
    );
    let call = spec.call_name().to_owned();
    let absent = |why: &str, log: Vec<Entry>| Verification {
        call: call.clone(),
        kernel: kernel.clone(),
        calls: log.len(),
        present: false,
        findings: judge::absent(spec, why),
        log,
    };
    let Some((_, number)) = found else {
        return Ok(absent("this kernel has no such call", Vec::new()));
    };
    let cases = plan::cases(spec);
    let scripts: Vec<_> = cases
        .iter()
        .map(|case| case.steps(&call, number, plan::look()))
        .collect();
    let logs = run::run_all(&scripts);
    let mut entries: Vec<Entry> = log::entries(&call, scripts, &logs, 0);
    let tried: Vec<tried::Tried> = cases
        .into_iter()
        .zip(logs)
        .enumerate()
        .map(|(number, (case, log))| tried::Tried { number, case, log })
        .collect();
    let no_call = consts::lookup("ENOSYS").and_then(|n| i32::try_from(n).ok());
    if tried
        .iter()
        .all(|t| t.outcome().is_none_or(|o| o.errno == no_call))
    {
        let why = tried
            .iter()
            .find_map(|t| t.log.failed.clone())
            .unwrap_or_else(|| "this kernel answers ENOSYS".to_owned());
        return Ok(absent(&why, entries));
    }
    let (followed, more) = effects::follow(spec, number, &tried);
    let (scripts, logs): (Vec<_>, Vec<_>) = more.into_iter().unzip();
    entries.extend(log::entries(&call, scripts, &logs, entries.len()));
    Ok(Verification {
        calls: entries.len(),
        findings: judge::judge(spec, &tried, &followed),
        call,
        kernel,
        present: true,
        log: entries,
    })
}

impl Verification {
    /// Numbers the calls from `from` on, for a log of several verifications.
    pub fn renumber(&mut self, from: usize) {
        for entry in &mut self.log {
            entry.number += from;
        }
        for witness in self.findings.iter_mut().flat_map(|f| &mut f.witnesses) {
            *witness += from;
        }
    }

    /// How many clauses have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings
            .iter()
            .filter(|f| f.verdict == verdict)
            .count()
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{} on {}: {} calls\n", self.call, self.kernel, self.calls);
        for finding in &self.findings {
            out.push_str(&format!(
                "  {:14}  {}  ({})\n",
                finding.verdict.word(),
                finding.clause.id,
                finding.clause.title
            ));
            for line in &finding.evidence {
                out.push_str(&format!("                    {line}\n"));
            }
        }
        let all = [
            Verdict::Confirmed,
            Verdict::Contradicted,
            Verdict::Observed,
            Verdict::NotObserved,
            Verdict::NotObservable,
            Verdict::NotAttempted,
        ];
        let counts: Vec<String> = all
            .iter()
            .map(|v| format!("{} {}", self.count(*v), v.word().to_lowercase()))
            .collect();
        out.push_str(&format!("{}\n", counts.join(", ")));
        out
    }
}
