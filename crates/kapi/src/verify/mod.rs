//! Live verification: makes the calls that a specification speaks of, in throw-away processes,
//! and says of each clause whether the running kernel bears it out.
//!
//! Nothing is validated in front of a call and no error number is changed: the call is made, the
//! outcome is compared. What cannot be seen from outside is said to be so, never assumed.

pub mod agent;
mod bind;
mod claims;
mod effects;
mod judge;
mod judge_effect;
mod judge_error;
mod plan;
mod privileges;
mod run;
mod scene;
pub mod script;
mod tried;

pub(crate) use bind::{CType, c_type};

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
    /// Seen.
    Confirmed,
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
    /// Every clause.
    pub findings: Vec<Finding>,
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
    let Some((_, number)) = found else {
        return Ok(Verification {
            call,
            kernel,
            calls: 0,
            findings: judge::absent(spec, "this kernel has no such call"),
        });
    };
    let cases = plan::cases(spec);
    let scripts: Vec<_> = cases.iter().map(|case| case.steps(&call, number)).collect();
    let logs = run::run_all(&scripts);
    let tried: Vec<tried::Tried> = cases
        .into_iter()
        .zip(logs)
        .map(|(case, log)| tried::Tried { case, log })
        .collect();
    if tried.iter().all(|t| {
        t.outcome()
            .is_none_or(|o| o.errno == consts::lookup("ENOSYS").and_then(|n| i32::try_from(n).ok()))
    }) {
        let why = tried
            .iter()
            .find_map(|t| t.log.failed.clone())
            .unwrap_or_else(|| "this kernel answers ENOSYS".to_owned());
        return Ok(Verification {
            call,
            kernel,
            calls: tried.len(),
            findings: judge::absent(spec, &why),
        });
    }
    let more = effects::Observed::new(spec, number, &tried);
    let findings = judge::judge(spec, &tried, &more);
    Ok(Verification {
        call,
        kernel,
        calls: tried.len() + more.calls(),
        findings,
    })
}

impl Verification {
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
