//! Negative controls: with one hook of the series disabled, the test that is there for it must fail.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::guest::{self, Options};
use crate::jobs::{Jobs, Table};
use crate::layout::Layout;
use crate::results::Results;
use crate::{kernel, say, source};

/// An overlay patch and what has to come of it.
#[derive(Debug, PartialEq, Eq)]
struct Control {
    name: String,
    patch: PathBuf,
    expect: Expect,
}

/// `Expect: mctl_exec`, or `Expect: mctl_exec: what the not ok line says`.
#[derive(Debug, PartialEq, Eq)]
struct Expect {
    job: String,
    /// Part of a `not ok` line of its output.
    line: Option<String>,
}

/// Applies each control in turn, boots, and looks for the failure. Everything has to pass without.
pub(crate) fn run(layout: &Layout, base: &str, only: &[String], options: &Options) -> Result<bool> {
    let controls = controls(layout, base)?;
    let wanted = |c: &&Control| only.is_empty() || only.iter().any(|w| c.name.contains(w.as_str()));
    let controls: Vec<&Control> = controls.iter().filter(wanted).collect();
    if controls.is_empty() {
        bail!("there is no control in {}", dir(layout).display());
    }
    let plain = boot(layout, base, None, options)?;
    if !plain.is_clean() {
        bail!("without any control the selftests do not pass; a control would show nothing");
    }
    let mut rows = Vec::new();
    for control in controls {
        say(&format!("== control {}", control.name));
        let verdict = match boot(layout, base, Some(&control.patch), options) {
            Ok(results) => judge(layout, base, control, &results),
            Err(error) => Err(format!("{error:#}")),
        };
        rows.push((control, verdict));
    }
    // The tree is left as the series has it.
    kernel::build(layout, base, &[], None)?;
    say(&format!("controls on {base}:"));
    for (control, verdict) in &rows {
        let text = match verdict {
            Ok(words) => format!("noticed: {words}"),
            Err(words) => format!("NOT NOTICED: {words}"),
        };
        say(&format!("{:<28} {text}", control.name));
    }
    Ok(rows.iter().all(|(_, verdict)| verdict.is_ok()))
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
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    let text = String::from_utf8_lossy(&text);
    let expect = expect(&text);
    let stem = path.file_stem().unwrap_or_default();
    Ok(Control {
        name: stem.to_string_lossy().into_owned(),
        patch: path.to_path_buf(),
        expect: expect.with_context(|| format!("{}: no line \"Expect: NAME\"", path.display()))?,
    })
}

fn expect(text: &str) -> Option<Expect> {
    let words = text
        .lines()
        .find_map(|l| l.trim().strip_prefix("Expect:"))?
        .trim();
    let (job, line) = match words.split_once(": ") {
        Some((job, line)) => (job, Some(line.trim().to_owned())),
        None => (words, None),
    };
    (!job.is_empty()).then(|| Expect {
        job: job.to_owned(),
        line,
    })
}

fn boot(layout: &Layout, base: &str, overlay: Option<&Path>, options: &Options) -> Result<Results> {
    let mut kernel = kernel::build(layout, base, &[], overlay)?;
    kernel.name = format!("control-{base}");
    let jobs = Jobs {
        jobs: kernel::selftests(layout, base)?,
        ..Jobs::default()
    };
    guest::go(layout, &kernel, jobs, &Table::read(layout)?, options)
}

fn judge(
    layout: &Layout,
    base: &str,
    control: &Control,
    results: &Results,
) -> Result<String, String> {
    let expect = &control.expect;
    let name = format!("selftest.{}", expect.job);
    let job = results
        .jobs
        .iter()
        .find(|j| j.name == name || j.name == expect.job);
    let Some(job) = job else {
        return Err(format!("there is no test {}", expect.job));
    };
    let log = layout
        .results()
        .join(format!("control-{base}"))
        .join(format!("{}.log", job.name));
    let log = std::fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    failed(expect, &job.verdict, &job.reason, &log)
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
