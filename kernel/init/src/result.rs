//! Result lines.
//!
//! ```text
//! MCTL-START name
//! MCTL-RESULT name pass|fail|skip reason seconds
//! MCTL-TOTAL pass=1 fail=0 skip=0
//! ```
//!
//! QEMU ends with success whatever happened in it: a run counts only with its last line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With status 0.
    Pass,
    /// In any other way.
    Fail,
    /// With the status that says "cannot be done here".
    Skip,
}

/// A job's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which job.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why, in words; `-` if there is nothing to say.
    pub reason: String,
    /// How long it took.
    pub time: Duration,
}

/// How many jobs ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Passed.
    pub pass: u32,
    /// Failed.
    pub fail: u32,
    /// Could not be done.
    pub skip: u32,
}

/// A line of the guest that is for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A job begins.
    Start(String),
    /// A job has ended.
    Result(Outcome),
    /// All have.
    Total(Totals),
}

impl Totals {
    /// Counts one more.
    pub fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pass => self.pass += 1,
            Verdict::Fail => self.fail += 1,
            Verdict::Skip => self.skip += 1,
        }
    }
}

impl std::ops::Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            pass: self.pass.saturating_add(other.pass),
            fail: self.fail.saturating_add(other.fail),
            skip: self.skip.saturating_add(other.skip),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
        })
    }
}

impl FromStr for Verdict {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "pass" => Ok(Self::Pass),
            "fail" => Ok(Self::Fail),
            "skip" => Ok(Self::Skip),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(name) => write!(f, "MCTL-START {name}"),
            Self::Result(o) => {
                let words: Vec<&str> = o.reason.split_whitespace().collect();
                let reason = if words.is_empty() {
                    "-".to_owned()
                } else {
                    words.join(" ")
                };
                let seconds = o.time.as_secs_f64();
                write!(
                    f,
                    "MCTL-RESULT {} {} {reason} {seconds:.1}",
                    o.name, o.verdict
                )
            }
            Self::Total(t) => write!(
                f,
                "MCTL-TOTAL pass={} fail={} skip={}",
                t.pass, t.fail, t.skip
            ),
        }
    }
}

/// Reads a line of the guest. `None` for everything that is not for the host, torn lines included.
#[must_use]
pub fn parse(line: &str) -> Option<Line> {
    let (kind, rest) = line.trim().split_once(' ')?;
    match kind {
        "MCTL-START" => (!rest.contains(' ')).then(|| Line::Start(rest.to_owned())),
        "MCTL-RESULT" => {
            let (name, rest) = rest.split_once(' ')?;
            let (verdict, rest) = rest.split_once(' ')?;
            let (reason, seconds) = rest.rsplit_once(' ')?;
            Some(Line::Result(Outcome {
                name: name.to_owned(),
                verdict: verdict.parse().ok()?,
                reason: reason.to_owned(),
                time: Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?,
            }))
        }
        "MCTL-TOTAL" => {
            let mut words = rest.split(' ');
            let mut count = |name: &str| -> Option<u32> {
                words
                    .next()?
                    .strip_prefix(name)?
                    .strip_prefix('=')?
                    .parse()
                    .ok()
            };
            let totals = Totals {
                pass: count("pass")?,
                fail: count("fail")?,
                skip: count("skip")?,
            };
            words.next().is_none().then_some(Line::Total(totals))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_prints_the_host_reads() {
        let lines = [
            Line::Start("mctl-sys.kills".into()),
            Line::Result(Outcome {
                name: "mctl-sys.kills".into(),
                verdict: Verdict::Fail,
                reason: "killed after 20 s".into(),
                time: Duration::from_millis(20_100),
            }),
            Line::Total(Totals {
                pass: 3,
                fail: 1,
                skip: 0,
            }),
        ];
        for line in lines {
            assert_eq!(parse(&format!("{line}\r\n")), Some(line));
        }
    }

    #[test]
    fn a_reason_is_never_empty_nor_more_than_a_line() {
        let mut outcome = Outcome {
            name: "a".into(),
            verdict: Verdict::Pass,
            reason: String::new(),
            time: Duration::ZERO,
        };
        assert_eq!(
            Line::Result(outcome.clone()).to_string(),
            "MCTL-RESULT a pass - 0.0"
        );
        outcome.reason = "two\nlines  here ".into();
        assert_eq!(
            Line::Result(outcome).to_string(),
            "MCTL-RESULT a pass two lines here 0.0"
        );
    }

    #[test]
    fn torn_and_foreign_lines_are_nothing() {
        for line in [
            "",
            "MCTL-RESULT",
            "MCTL-RESULT a",
            "MCTL-RESULT a pass",
            "MCTL-RESULT a pass -",
            "MCTL-RESULT a passed - 1.0",
            "MCTL-RESULT a pass - -1",
            "MCTL-RESULT a pass - NaN",
            "MCTL-RESULT a pass - [   1.2] usb",
            "MCTL-TOTAL pass=1 fail=0",
            "MCTL-TOTAL pass=1 fail=0 skip=0 x",
            "MCTL-TOTAL pass=-1 fail=0 skip=0",
            "MCTL-START a b",
            "[    1.0] MCTL-START a",
        ] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
