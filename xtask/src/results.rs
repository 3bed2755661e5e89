//! What came of a guest: rows a person can read, JSON, JUnit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use mctl_guest_init::{Outcome, Verdict};
use serde::{Deserialize, Serialize};

use crate::qemu::Ran;

/// Everything about one guest's run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) kernel: String,
    pub(crate) release: String,
    /// Why the kernel is not the pinned one.
    pub(crate) drift: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) jobs: Vec<JobResult>,
    /// What was not run, and why.
    pub(crate) left_out: Vec<(String, String)>,
    /// What went wrong with the guest as a whole.
    pub(crate) broken: Vec<String>,
    /// What came of the contract's sentences.
    pub(crate) sentences: Option<Sentences>,
    /// That it stood still at times.
    pub(crate) slow: Vec<String>,
    /// Data races in code that is not ours: the two functions of each.
    #[serde(default)]
    pub(crate) races_of_others: Vec<String>,
}

/// The conformance suite's report, held against what is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sentences {
    pub(crate) holds: usize,
    pub(crate) not_possible: usize,
    /// Differs, and the table says why.
    pub(crate) known: usize,
    /// Differs, and nobody knows why.
    pub(crate) differs: Vec<String>,
    /// The table says that they differ, and they hold: the entry has to go.
    pub(crate) hold_after_all: Vec<String>,
}

#[derive(Deserialize)]
struct Report {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    case: String,
    backends: BTreeMap<String, serde_json::Value>,
}

impl Sentences {
    /// Reads `mctl-conformance run --json`.
    pub(crate) fn judge(json: &[u8], known: &BTreeMap<&str, &str>) -> Result<Self> {
        let report: Report = serde_json::from_slice(json).context("the conformance report")?;
        let mut sentences = Self::default();
        for row in &report.rows {
            let Some(fate) = row.backends.values().next() else {
                continue;
            };
            let known = known.contains_key(row.case.as_str());
            let text = |name: &str| fate.get(name).and_then(|v| v.as_str()).unwrap_or("?");
            match text("verdict") {
                "holds" | "holds-best-effort" if known => {
                    sentences.hold_after_all.push(row.case.clone())
                }
                "holds" | "holds-best-effort" => sentences.holds += 1,
                "not-possible" => sentences.not_possible += 1,
                _ if known => sentences.known += 1,
                _ => sentences.differs.push(format!(
                    "{}: {}: wanted {}, got {}",
                    row.case,
                    text("step"),
                    text("wanted"),
                    text("got")
                )),
            }
        }
        Ok(sentences)
    }

    /// A report in which nothing could be tried shows nothing.
    fn is_clean(&self) -> bool {
        self.differs.is_empty() && self.hold_after_all.is_empty() && self.holds > 0
    }
}

/// One job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobResult {
    pub(crate) name: String,
    /// pass, fail or skip.
    pub(crate) verdict: String,
    pub(crate) reason: String,
    pub(crate) seconds: f64,
    /// The tests in it, if it is a test executable: name → pass, fail, ignored, or why it skipped itself.
    pub(crate) tests: BTreeMap<String, Test>,
}

/// One test of an executable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Test {
    Pass,
    Fail,
    Ignored,
    Skipped(String),
}

impl Results {
    pub(crate) fn collect(kernel: &str, release: &str, ran: &Ran, logs: &Path) -> Self {
        let mut results = Self {
            kernel: kernel.to_owned(),
            release: release.to_owned(),
            seconds: ran.time.as_secs_f64(),
            ..Self::default()
        };
        results.jobs = ran.outcomes.iter().map(|o| job(o, logs)).collect();
        results.broken.extend(ran.killed.clone());
        if let Some(name) = &ran.unfinished {
            results.broken.push(format!("the guest ended in {name}"));
        }
        if ran.totals.is_none() {
            let words = "the guest did not come to its last line";
            results.broken.push(words.to_owned());
        }
        for trouble in &ran.troubles {
            let list = if trouble.only_slow {
                &mut results.slow
            } else {
                &mut results.broken
            };
            list.push(trouble.line.clone());
        }
        results.races_of_others.clone_from(&ran.other_races);
        results
    }

    /// Where a stall is a failure too.
    pub(crate) fn slow_is_broken(&mut self) {
        self.broken.append(&mut self.slow);
    }

    /// Where others race, and how often.
    pub(crate) fn other_races(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for names in &self.races_of_others {
            *count.entry(names.as_str()).or_insert(0) += 1;
        }
        count
    }

    /// Whether everything that ran passed, and ran to the end.
    pub(crate) fn is_clean(&self) -> bool {
        self.broken.is_empty()
            && self.sentences.as_ref().is_none_or(Sentences::is_clean)
            && !self.jobs.is_empty()
            && self.jobs.iter().all(|j| j.verdict != "fail")
    }

    /// Counts of single tests: passed, failed, skipped themselves.
    pub(crate) fn tests(&self) -> (usize, usize, usize) {
        let all = self.jobs.iter().flat_map(|j| j.tests.values());
        all.fold((0, 0, 0), |(pass, fail, skip), test| match test {
            Test::Pass => (pass + 1, fail, skip),
            Test::Fail => (pass, fail + 1, skip),
            Test::Skipped(_) => (pass, fail, skip + 1),
            Test::Ignored => (pass, fail, skip),
        })
    }

    /// All of it in a line.
    pub(crate) fn line(&self) -> String {
        let count = |word: &str| self.jobs.iter().filter(|j| j.verdict == word).count();
        let (pass, fail, skip) = self.tests();
        let mut line = format!(
            "{} (Linux {}): {} jobs pass, {} fail, {} skip; tests: {pass} pass, {fail} fail, {skip} skip themselves",
            self.kernel,
            self.release,
            count("pass"),
            count("fail"),
            count("skip"),
        );
        if let Some(s) = &self.sentences {
            let _ = write!(
                line,
                "; sentences: {} hold, {} differ as known, {} differ, {} not possible there",
                s.holds,
                s.known,
                s.differs.len() + s.hold_after_all.len(),
                s.not_possible
            );
        }
        if let Some(words) = self.broken.first() {
            let _ = write!(line, "; BROKEN: {words}");
        }
        let _ = write!(line, "; {:.0} s", self.seconds);
        line
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        let json = serde_json::to_string_pretty(self)?;
        std::fs::write(dir.join("results.json"), json)?;
        std::fs::write(dir.join("junit.xml"), self.junit())?;
        Ok(())
    }

    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("results.json");
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// For CI. A job without tests of its own is one test.
    pub(crate) fn junit(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for job in &self.jobs {
            let mut cases = job.tests.clone();
            if cases.is_empty() {
                let test = match job.verdict.as_str() {
                    "pass" => Test::Pass,
                    "skip" => Test::Skipped(job.reason.clone()),
                    _ => Test::Fail,
                };
                cases.insert(job.name.clone(), test);
            } else if job.verdict == "fail" && !cases.values().any(|t| *t == Test::Fail) {
                cases.insert("(the whole)".to_owned(), Test::Fail);
            }
            suite(&mut text, &self.kernel, job, &cases);
        }
        text.push_str("</testsuites>\n");
        text
    }
}

fn suite(text: &mut String, kernel: &str, job: &JobResult, cases: &BTreeMap<String, Test>) {
    let failures = cases.values().filter(|t| **t == Test::Fail).count();
    let skipped = |t: &&Test| matches!(t, Test::Skipped(_) | Test::Ignored);
    let _ = writeln!(
        text,
        "  <testsuite name=\"{}.{}\" tests=\"{}\" failures=\"{failures}\" skipped=\"{}\" time=\"{:.1}\">",
        escape(kernel),
        escape(&job.name),
        cases.len(),
        cases.values().filter(skipped).count(),
        job.seconds
    );
    for (name, test) in cases {
        let inner = match test {
            Test::Pass => String::new(),
            Test::Fail => format!("<failure message=\"{}\"/>", escape(&job.reason)),
            Test::Ignored => "<skipped/>".to_owned(),
            Test::Skipped(why) => format!("<skipped message=\"{}\"/>", escape(why)),
        };
        let _ = writeln!(
            text,
            "    <testcase name=\"{}\">{inner}</testcase>",
            escape(name)
        );
    }
    text.push_str("  </testsuite>\n");
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(' '),
            // XML has no way to say other control characters.
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

fn job(outcome: &Outcome, logs: &Path) -> JobResult {
    let log = std::fs::read(logs.join(format!("{}.log", outcome.name))).unwrap_or_default();
    let tests = parse_tests(&String::from_utf8_lossy(&log));
    let mut verdict = outcome.verdict;
    let mut reason = outcome.reason.clone();
    let ran = |t: &Test| matches!(t, Test::Pass | Test::Fail);
    // A pass in which every test skipped itself shows nothing.
    if verdict == Verdict::Pass && !tests.is_empty() && !tests.values().any(ran) {
        let skipped = tests.values().find_map(|t| match t {
            Test::Skipped(why) => Some(why.clone()),
            _ => None,
        });
        (verdict, reason) = (
            Verdict::Skip,
            skipped.unwrap_or("all are ignored".to_owned()),
        );
    }
    JobResult {
        name: outcome.name.clone(),
        verdict: verdict.to_string(),
        reason,
        seconds: outcome.time.as_secs_f64(),
        tests,
    }
}

/// Reads what libtest prints with `--show-output`.
fn parse_tests(log: &str) -> BTreeMap<String, Test> {
    let mut tests = BTreeMap::new();
    let mut section = None;
    for line in log.lines() {
        if let Some(rest) = line.strip_prefix("test ")
            && let Some((name, word)) = rest.rsplit_once(" ... ")
        {
            let name = name.split(" - should panic").next().unwrap_or(name);
            let test = match word.split(',').next() {
                Some("ok") => Test::Pass,
                Some("FAILED") => Test::Fail,
                Some("ignored") => Test::Ignored,
                _ => continue,
            };
            tests.insert(name.to_owned(), test);
        } else if let Some(rest) = line.strip_prefix("---- ") {
            section = rest.strip_suffix(" stdout ----").map(str::to_owned);
        } else if let Some(why) = line.strip_prefix("skipped: ")
            && let Some(test) = section.as_ref().and_then(|name| tests.get_mut(name))
            && *test == Test::Pass
        {
            *test = Test::Skipped(why.to_owned());
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\nrunning 4 tests\ntest a::b ... ok\ntest c - should panic ... ok\n\
        test d ... ignored, needs time\ntest e ... FAILED\ntest f ... ok\n\nsuccesses:\n\n\
        ---- a::b stdout ----\nskipped: needs a newer kernel\n\n---- f stdout ----\nhello\n\n\
        failures:\n\n---- e stdout ----\nskipped: not really\n";

    #[test]
    fn tests_are_read_with_why_they_skipped_themselves() {
        let tests = parse_tests(LOG);
        assert_eq!(tests.len(), 5);
        assert_eq!(tests["a::b"], Test::Skipped("needs a newer kernel".into()));
        assert_eq!(tests["c"], Test::Pass);
        assert_eq!(tests["d"], Test::Ignored);
        assert_eq!(tests["e"], Test::Fail);
        assert_eq!(tests["f"], Test::Pass);
    }

    fn outcome(name: &str, verdict: Verdict) -> Outcome {
        Outcome {
            name: name.into(),
            verdict,
            reason: "status 101".into(),
            time: std::time::Duration::from_secs(1),
        }
    }

    #[test]
    fn a_run_without_its_last_line_is_not_clean() {
        let dir = tempfile::tempdir().unwrap();
        let mut ran = Ran {
            outcomes: vec![outcome("x", Verdict::Pass)],
            ..Ran::default()
        };
        let results = Results::collect("k", "r", &ran, dir.path());
        assert!(!results.is_clean());
        ran.totals = Some(mctl_guest_init::Totals::default());
        let results = Results::collect("k", "r", &ran, dir.path());
        assert!(results.is_clean());
        ran.outcomes.clear();
        assert!(!Results::collect("k", "r", &ran, dir.path()).is_clean());
    }

    #[test]
    fn a_splat_makes_a_run_fail_and_a_race_of_others_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut ran = Ran {
            outcomes: vec![outcome("x", Verdict::Pass)],
            totals: Some(mctl_guest_init::Totals::default()),
            other_races: vec!["a / b".into(), "a / b".into()],
            ..Ran::default()
        };
        let results = Results::collect("k", "r", &ran, dir.path());
        assert!(results.is_clean());
        assert_eq!(results.other_races()["a / b"], 2);
        let line = "[    9.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:";
        ran.troubles.extend(crate::console::trouble(line));
        let mut results = Results::collect("k", "r", &ran, dir.path());
        assert!(results.is_clean());
        results.slow_is_broken();
        assert!(!results.is_clean());
        let line = "[    9.0] WARNING: possible circular locking dependency detected";
        ran.troubles.extend(crate::console::trouble(line));
        assert!(!Results::collect("k", "r", &ran, dir.path()).is_clean());
    }

    #[test]
    fn a_pass_in_which_nothing_ran_is_a_skip() {
        let dir = tempfile::tempdir().unwrap();
        let log = "test a ... ok\n---- a stdout ----\nskipped: no KSM\n";
        std::fs::write(dir.path().join("x.log"), log).unwrap();
        let job = job(&outcome("x", Verdict::Pass), dir.path());
        assert_eq!(
            (job.verdict.as_str(), job.reason.as_str()),
            ("skip", "no KSM")
        );
    }

    #[test]
    fn a_sentence_may_differ_only_where_the_table_says_so() {
        let json = br#"{"rows":[
            {"case":"1/a","sentence":"A","backends":{"stock":{"verdict":"holds"}}},
            {"case":"1/b","sentence":"B","backends":{"stock":{"verdict":"differs","line":3,"step":"s","wanted":"ok","got":"EINVAL"}}},
            {"case":"1/c","sentence":"C","backends":{"stock":{"verdict":"not-possible","why":"w"}}}
        ],"unsteady":[]}"#;
        let judged = |known: &[(&'static str, &'static str)]| {
            Sentences::judge(json, &known.iter().copied().collect()).unwrap()
        };
        assert!(judged(&[("1/b", "old")]).is_clean());
        let unknown = judged(&[]);
        assert!(!unknown.is_clean());
        assert_eq!(unknown.differs, ["1/b: s: wanted ok, got EINVAL"]);
        let both = judged(&[("1/a", "x"), ("1/b", "x")]);
        assert_eq!(both.hold_after_all, ["1/a"]);
        assert!(!both.is_clean());
        assert!(Sentences::judge(b"", &BTreeMap::new()).is_err());
    }

    #[test]
    fn junit_counts_and_escapes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.log"), LOG).unwrap();
        let ran = Ran {
            outcomes: vec![outcome("x", Verdict::Fail), outcome("y<&>", Verdict::Fail)],
            ..Ran::default()
        };
        let junit = Results::collect("k", "r", &ran, dir.path()).junit();
        assert!(
            junit.contains("tests=\"5\" failures=\"1\" skipped=\"2\""),
            "{junit}"
        );
        assert!(junit.contains("y&lt;&amp;&gt;"), "{junit}");
    }
}
