//! Negative controls: with one hook of the series disabled, the test that is there for it must fail.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use mctl_guest_init::Job;

use crate::guest::{self, Options};
use crate::jobs::{Jobs, Table};
use crate::layout::Layout;
use crate::results::Results;
use crate::stock::Kernel;
use crate::verdicts::{Row, Verdicts};
use crate::{kernel, say, source};

/// An overlay patch and what has to come of it.
#[derive(Debug, PartialEq, Eq)]
struct Control {
    name: String,
    patch: PathBuf,
    text: String,
    expect: Expect,
    /// `Args: 30`: what the test is told besides.
    args: Vec<String>,
}

/// `Expect: mctl_exec`, or `Expect: mctl_exec: what the not ok line says`.
#[derive(Debug, PartialEq, Eq)]
struct Expect {
    job: String,
    /// Part of a `not ok` line of its output.
    line: Option<String>,
}

/// What all the boots of one run share.
struct Run<'a> {
    layout: &'a Layout,
    base: &'a str,
    /// The series' own selftests, one job each.
    selftests: Vec<Job>,
    table: Table,
    options: &'a Options,
}

/// Without any control everything has to pass; then each in turn, with the one test that is there for it.
pub(crate) fn run(layout: &Layout, base: &str, only: &[String], options: &Options) -> Result<bool> {
    let controls = controls(layout, base)?;
    let wanted = |c: &&Control| only.is_empty() || only.iter().any(|w| c.name.contains(w.as_str()));
    let controls: Vec<&Control> = controls.iter().filter(wanted).collect();
    if controls.is_empty() {
        bail!(
            "no control in {} has {} in its name",
            dir(layout).display(),
            only.join(" or ")
        );
    }
    let plain = kernel::build(layout, base, &[], None)?;
    let run = Run {
        layout,
        base,
        selftests: kernel::selftests(layout, base, &[])?,
        table: Table::read(layout)?,
        options,
    };
    for control in &controls {
        run.job(control)?;
    }
    let file = layout.results().join(format!("controls-{base}.json"));
    let mut verdicts = Verdicts::read(&file, &series_text(layout, base)?);
    if only.is_empty() || !verdicts.passes_without() {
        say("== without any control, every selftest");
        let results = run.boot(plain, run.plain_jobs(&controls), options)?;
        verdicts.without(results.is_clean());
        verdicts.write(&file)?;
        if !results.is_clean() {
            bail!("without any control the selftests do not pass; a control would show nothing");
        }
    } else {
        say("without any control the selftests of this series passed before");
    }
    let mut noticed = true;
    for (i, control) in controls.iter().enumerate() {
        let count = controls.len();
        say(&format!("== {}/{count} {}", i + 1, control.name));
        let begin = Instant::now();
        let verdict = run.control(control);
        noticed &= verdict.is_ok();
        let row = Row::new(&control.text, verdict, begin.elapsed());
        say(&format!("{}: {row}", control.name));
        verdicts.set(&control.name, row);
        verdicts.write(&file)?;
    }
    // The tree is left as the series has it.
    kernel::build(layout, base, &[], None)?;
    say(&format!("controls on {base}, also in {}:", file.display()));
    for control in self::controls(layout, base)? {
        let row = verdicts.get(&control.name, &control.text);
        let text = row.map_or("not run with this series".to_owned(), Row::to_string);
        say(&format!("{:<18} {text}", control.name));
    }
    Ok(noticed)
}

impl Run<'_> {
    /// The test that has to fail under a control.
    fn job(&self, control: &Control) -> Result<Job> {
        let name = format!("selftest.{}", control.expect.job);
        let found = self.selftests.iter().find(|j| j.name == name);
        let mut job = found
            .with_context(|| format!("{}: there is no test {name}", control.name))?
            .clone();
        job.argv.extend(control.args.iter().cloned());
        Ok(job)
    }

    /// Every selftest, and those that a control tells more than usual once more, told the same: what it
    /// notices then has to come of the control.
    fn plain_jobs(&self, controls: &[&Control]) -> Vec<Job> {
        let mut jobs = self.selftests.clone();
        for control in controls.iter().filter(|c| !c.args.is_empty()) {
            let Ok(mut job) = self.job(control) else {
                continue;
            };
            if jobs.iter().all(|other| other.argv != job.argv) {
                job.name = format!("{}.{}", job.name, control.args.join("."));
                jobs.push(job);
            }
        }
        jobs
    }

    /// What noticed the control, or that nothing did.
    fn control(&self, control: &Control) -> Result<String, String> {
        let job = self.job(control);
        let kernel = kernel::build(self.layout, self.base, &[], Some(&control.patch));
        let words = |error: anyhow::Error| format!("{error:#}");
        let quiet = Options {
            quiet: true,
            ..self.options.clone()
        };
        let results = self
            .boot(kernel.map_err(words)?, vec![job.map_err(words)?], &quiet)
            .map_err(words)?;
        let Some(job) = results.jobs.first() else {
            return Err(format!("no result: {}", results.broken.join("; ")));
        };
        let log = self.layout.results().join(&results.kernel);
        let log = std::fs::read(log.join(format!("{}.log", job.name))).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        failed(&control.expect, &job.verdict, &job.reason, &log)
    }

    fn boot(&self, mut kernel: Kernel, jobs: Vec<Job>, options: &Options) -> Result<Results> {
        kernel.name = format!("control-{}", self.base);
        let jobs = Jobs {
            jobs,
            ..Jobs::default()
        };
        guest::go(self.layout, &kernel, jobs, &self.table, options)
    }
}

/// What a verdict is about, besides the control: the series, the selftests in it included.
fn series_text(layout: &Layout, base: &str) -> Result<String> {
    let mut all = String::new();
    for patch in source::series(layout, base)? {
        all.push_str(&read_text(&patch)?);
    }
    Ok(all)
}

fn read_text(path: &Path) -> Result<String> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn dir(layout: &Layout) -> PathBuf {
    layout.repo.join("kernel/controls")
}

/// The controls of a base: those in its own folder come in the place of those for all.
fn controls(layout: &Layout, base: &str) -> Result<Vec<Control>> {
    let own = source::patches(&dir(layout).join(base))?;
    let mut all = source::patches(&dir(layout))?;
    all.retain(|p| own.iter().all(|o| o.file_name() != p.file_name()));
    all.extend(own);
    all.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    all.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Control> {
    let text = read_text(path)?;
    let expect = expect(&text);
    let stem = path.file_stem().unwrap_or_default();
    Ok(Control {
        name: stem.to_string_lossy().into_owned(),
        patch: path.to_path_buf(),
        expect: expect.with_context(|| format!("{}: no line \"Expect: NAME\"", path.display()))?,
        args: header(&text, "Args:").map_or(Vec::new(), |words| {
            words.split_whitespace().map(str::to_owned).collect()
        }),
        text,
    })
}

/// A line of what stands above the diff.
fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let above = text.lines().take_while(|l| !l.starts_with("diff "));
    let mut found = above.filter_map(|l| l.trim().strip_prefix(name));
    found.next().map(str::trim)
}

fn expect(text: &str) -> Option<Expect> {
    let words = header(text, "Expect:")?;
    let (job, line) = match words.split_once(": ") {
        Some((job, line)) => (job, Some(line.trim().to_owned())),
        None => (words, None),
    };
    (!job.is_empty()).then(|| Expect {
        job: job.to_owned(),
        line,
    })
}

/// Whether it failed, and in the expected place.
fn failed(expect: &Expect, verdict: &str, reason: &str, log: &str) -> Result<String, String> {
    if verdict != "fail" {
        return Err(format!("{} says {verdict}", expect.job));
    }
    let lines: Vec<&str> = log.lines().filter(|l| l.starts_with("not ok")).collect();
    match &expect.line {
        None => {
            let first = lines.first().copied().unwrap_or(reason);
            Ok(format!("{}: {first}", expect.job))
        }
        Some(want) => match lines.iter().find(|l| l.contains(want.as_str())) {
            Some(line) => Ok(format!("{}: {line}", expect.job)),
            None => Err(format!(
                "{} fails elsewhere: {}",
                expect.job,
                lines.first().copied().unwrap_or(reason)
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_stands_in_the_patch() {
        let plain = expect("Why.\n\nExpect: mctl_exec\n---\n").unwrap();
        assert_eq!((plain.job.as_str(), plain.line), ("mctl_exec", None));
        let exact = expect("Expect: mctl_exec: no mixture\n").unwrap();
        assert_eq!(exact.line.as_deref(), Some("no mixture"));
        assert_eq!(expect("Expect:\n"), None);
        assert_eq!(expect("nothing"), None);
        let told = "Expect: t\nArgs: 30 2\n\nWhy.\n\ndiff --git a/x b/x\n+Expect: u\n+Args: 9\n";
        assert_eq!(header(told, "Args:"), Some("30 2"));
        assert_eq!(header("diff a\nArgs: 9\n", "Args:"), None);
    }

    #[test]
    fn every_control_names_a_test_of_the_series() {
        let layout = Layout::find().unwrap();
        for base in kernel::BASES {
            let series = series_text(&layout, base).unwrap();
            let all = controls(&layout, base).unwrap();
            assert!(all.len() > 20, "{base}: {}", all.len());
            for control in all {
                let file = format!(
                    "+++ b/tools/testing/selftests/mm/{}.c\n",
                    control.expect.job
                );
                assert!(series.contains(&file), "{base}: {control:?}");
            }
        }
    }

    #[test]
    fn only_a_failure_in_the_expected_place_counts() {
        let expect = |line: Option<&str>| Expect {
            job: "t".into(),
            line: line.map(str::to_owned),
        };
        let log = "ok 1 a\nnot ok 2 the child saw half\n";
        assert!(failed(&expect(None), "fail", "status 1", log).is_ok());
        assert!(failed(&expect(Some("child")), "fail", "status 1", log).is_ok());
        assert!(failed(&expect(Some("a")), "pass", "-", log).is_err());
        assert!(failed(&expect(None), "pass", "-", log).is_err());
        assert!(failed(&expect(None), "skip", "-", log).is_err());
        assert!(failed(&expect(Some("other")), "fail", "status 1", log).is_err());
    }
}
