//! Booting the guests that share a list of jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mctl_guest_init::{Job, Outcome, PLAN_FILE, Plan, TAKEN};
use mctl_testkit::KitError;

use crate::guest::Options;
use crate::layout::{Layout, remove};
use crate::qemu::{self, Machine, Ran};
use crate::results::Results;
use crate::stock::Kernel;
use crate::{initramfs, run, say};

/// Boots as many guests as wanted with the same list; each takes from it what no other has begun. What they write
/// is in `dir` in the end.
pub(crate) fn boot(
    layout: &Layout,
    kernel: &Kernel,
    mut jobs: Vec<Job>,
    dir: &Path,
    options: &Options,
) -> Result<Ran> {
    let names: Vec<String> = jobs.iter().map(|job| job.name.clone()).collect();
    unique(&names)?;
    if options.guests > 1 {
        longest_first(&mut jobs, &times(dir));
    }
    remove(dir)?;
    std::fs::create_dir_all(dir.join(TAKEN))?;
    let plan = Plan {
        keep: keep(&[&layout.repo, &layout.target, &layout.cache]),
        copy: vec![testkit(layout)?],
        machine: options
            .variant
            .as_ref()
            .map(|v| v.machine())
            .unwrap_or_default(),
        jobs,
    };
    std::fs::write(dir.join(PLAN_FILE), serde_json::to_string_pretty(&plan)?)?;
    let initramfs = dir.join("initramfs.cpio");
    let init = initramfs::build_init(layout)?;
    initramfs::pack(&init, kernel.modules.as_deref(), &initramfs)?;
    let count = options.guests.clamp(1, names.len().max(1));
    let one = |number: usize| guest(kernel, dir, &initramfs, number, options);
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (2..=count).map(|n| scope.spawn(move || one(n))).collect();
        let mut all = vec![one(1)];
        all.extend(others.into_iter().map(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|_| bail!("a guest's thread ended badly"))
        }));
        all.into_iter()
    });
    let mut ran = all.next().context("no guest")??;
    for other in all {
        ran.join(other?);
    }
    if ran.killed.is_none() && ran.totals.is_some() {
        ran.killed = never_run(&names, &ran.outcomes);
    }
    std::fs::remove_file(&initramfs)?;
    remove(&dir.join(TAKEN))?;
    Ok(ran)
}

/// One guest to its end.
fn guest(
    kernel: &Kernel,
    dir: &Path,
    initramfs: &Path,
    number: usize,
    options: &Options,
) -> Result<Ran> {
    let suffix = if number > 1 {
        format!("-{number}")
    } else {
        String::new()
    };
    let disk = dir.join(format!("disk{suffix}.img"));
    let console = dir.join(format!("console{suffix}.log"));
    make_disk(&disk)?;
    let machine = Machine {
        kernel: &kernel.image,
        initramfs,
        share: dir,
        disk: &disk,
        memory: options.memory,
        cpus: options
            .variant
            .as_ref()
            .and_then(|v| v.processors)
            .unwrap_or(2),
        append: &options.append,
        ours: &kernel.ours,
        limit: Duration::from_secs(options.minutes * 60),
    };
    let mut ran = qemu::run(&machine, &console, &seen)?;
    if kernel.ours.is_empty() && !ran.troubles.is_empty() && ran.never_began() {
        // Seen with a distribution's kernel: emulated processors trip over each other while it changes its own
        // code. Never for a kernel of ours, whose death at boot would be a finding.
        say(&format!(
            "{}: died while booting ({}); once more",
            kernel.name,
            ran.troubles.first().map_or("", |t| t.line.as_str())
        ));
        ran = qemu::run(&machine, &console, &seen)?;
    }
    std::fs::remove_file(&disk)?;
    Ok(ran)
}

fn seen(o: &Outcome) {
    let seconds = o.time.as_secs_f64();
    say(&format!(
        "{seconds:>6.1} s  {:<4}  {}  {}",
        o.verdict, o.name, o.reason
    ));
}

/// A job's name is that of its log, and who begins it says so by the name.
fn unique(names: &[String]) -> Result<()> {
    let mut known = BTreeSet::new();
    match names.iter().find(|name| !known.insert(*name)) {
        Some(name) => bail!("two jobs have the name {name}"),
        None => Ok(()),
    }
}

/// Guests that came to their ends and left something out must not count as a run of everything.
fn never_run(names: &[String], outcomes: &[Outcome]) -> Option<String> {
    let missing: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| outcomes.iter().all(|o| o.name != *name))
        .collect();
    (!missing.is_empty()).then(|| format!("never run: {}", missing.join(", ")))
}

/// How long jobs took in the run before, in seconds.
fn times(dir: &Path) -> BTreeMap<String, f64> {
    let before = Results::read(dir);
    let jobs = before.map_or(Vec::new(), |results| results.jobs);
    jobs.into_iter()
        .map(|job| (job.name, job.seconds))
        .collect()
}

/// Who begins a long job last keeps everyone waiting for one guest. What is not known is taken to need a tenth of
/// what it may.
fn longest_first(jobs: &mut [Job], times: &BTreeMap<String, f64>) {
    let time = |job: &Job| {
        let known = times.get(&job.name).copied();
        known.unwrap_or(Duration::from_secs(job.seconds).as_secs_f64() / 10.0)
    };
    jobs.sort_by(|a, b| time(b).total_cmp(&time(a)));
}

/// An empty disk for the guest's /tmp: its files shall be ordinary ones, with a page cache that can be
/// written back, not shmem.
fn make_disk(path: &Path) -> Result<()> {
    run::need(&[("mkfs.ext4", "e2fsprogs")])?;
    std::fs::File::create(path)?.set_len(4 << 30)?;
    let mkfs = ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"];
    let mkfs = mkfs.iter().find(|p| Path::new(p).exists());
    // Without checksums no kernel needs another module for them, without a journal nothing is written twice.
    run::text(
        std::process::Command::new(mkfs.unwrap_or(&"mkfs.ext4"))
            .args(["-q", "-F", "-O", "^metadata_csum,^has_journal", "-E"])
            .arg("root_owner=0:0,lazy_itable_init=1")
            .arg(path),
    )?;
    Ok(())
}

/// The folders that the guest's own /tmp would hide.
fn keep(dirs: &[&PathBuf]) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        let hidden = ["/tmp", "/var/tmp", "/run", "/dev/shm"];
        let covered = kept.iter().any(|k| dir.starts_with(k));
        if hidden.iter().any(|h| dir.starts_with(h)) && !covered {
            kept.push((*dir).clone());
        }
    }
    kept
}

/// The folder of the test programs, compiled: a compiler takes seconds for each of them on an emulated processor,
/// and each guest would compile them for itself.
fn testkit(layout: &Layout) -> Result<PathBuf> {
    let dir = layout.target.join("mctl-testkit");
    std::fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    for name in mctl_testkit::program_names()? {
        match mctl_testkit::compile(&name, &[]) {
            Ok(exe) if exe.starts_with(&dir) => {}
            Ok(exe) => bail!("{} is not in {}", exe.display(), dir.display()),
            // A variant (32-bit) may lack its headers; the test that wants it says that it is skipped.
            Err(error @ KitError::Unavailable { .. }) => eprintln!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(list: &[(&str, u64)]) -> Vec<Job> {
        list.iter()
            .map(|(name, seconds)| Job {
                name: (*name).to_owned(),
                seconds: *seconds,
                ..Job::default()
            })
            .collect()
    }

    #[test]
    fn the_longest_jobs_come_first() {
        let mut list = jobs(&[("short", 240), ("long", 240), ("new", 400), ("other", 240)]);
        let times = [("short".to_owned(), 0.5), ("long".to_owned(), 80.0)];
        longest_first(&mut list, &times.into());
        let names: Vec<&str> = list.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names, ["long", "new", "other", "short"]);
    }

    #[test]
    fn a_job_that_no_guest_ran_is_named() {
        let names = ["a", "b"].map(str::to_owned);
        let outcome = |name: &str| Outcome {
            name: name.to_owned(),
            verdict: mctl_guest_init::Verdict::Pass,
            reason: String::new(),
            time: Duration::ZERO,
        };
        let found = never_run(&names, &[outcome("b")]);
        assert_eq!(found.as_deref(), Some("never run: a"));
        assert_eq!(never_run(&names, &[outcome("b"), outcome("a")]), None);
        assert!(unique(&names).is_ok());
        assert!(unique(&["a", "b", "a"].map(str::to_owned)).is_err());
    }

    #[test]
    fn only_what_a_mount_would_hide_is_kept() {
        let dirs = ["/tmp/t", "/home/r", "/tmp/t/kernel", "/run/x"].map(PathBuf::from);
        let kept = keep(&[&dirs[0], &dirs[1], &dirs[2], &dirs[3]]);
        assert_eq!(kept, [dirs[0].clone(), dirs[3].clone()]);
    }
}
