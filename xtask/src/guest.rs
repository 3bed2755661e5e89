//! Running the suites in a guest.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use mctl_guest_init::Job;

use crate::apt::Apt;
use crate::jobs::{self, CONFORMANCE, Jobs, Table};
use crate::layout::Layout;
use crate::pins::Pins;
use crate::results::{Results, Sentences};
use crate::stock::Kernel;
use crate::variant::Variant;
use crate::{boot, kernel, run, say, stock, toolchain};

/// What can be chosen about a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// MiB.
    pub(crate) memory: u32,
    /// Only jobs in whose name this occurs.
    pub(crate) only: Vec<String>,
    /// Everything must be done by then.
    pub(crate) minutes: u64,
    /// How many guests share the jobs.
    pub(crate) guests: usize,
    /// More fragments for a native kernel's configuration.
    pub(crate) with: Vec<String>,
    /// An image to boot in the place of a native kernel of our own build.
    pub(crate) image: Option<PathBuf>,
    /// Whoever asks says what came of it: a failure may be what is wanted.
    pub(crate) quiet: bool,
    /// More for the kernel's command line.
    pub(crate) append: String,
    /// A machine that differs from the usual one.
    pub(crate) variant: Option<Variant>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory: 2048,
            only: Vec::new(),
            minutes: 25,
            guests: 1,
            with: Vec::new(),
            image: None,
            quiet: false,
            append: String::new(),
            variant: None,
        }
    }
}

/// The kernels that there are.
pub(crate) const KERNELS: [&str; 5] = [
    "stock-6.1",
    "stock-6.12",
    "stock-7.x",
    "native-6.12",
    "native-7.3",
];

pub(crate) fn pins(layout: &Layout) -> Result<Pins> {
    let path = layout.repo.join("kernel/pins.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Pins::parse(&text).with_context(|| path.display().to_string())
}

/// Gets the kernel, boots it, runs everything, writes the results.
pub(crate) fn test(layout: &Layout, name: &str, options: &Options) -> Result<Results> {
    let mut kernel = prepare(layout, name, options)?;
    say(&format!("{name}: Linux {}", kernel.release));
    if let Some(drift) = &kernel.drift {
        say(&format!("{name}: drift: {drift}"));
    }
    let table = Table::read(layout)?;
    let base = name.strip_prefix("native-");
    let backend = if base.is_some() { "native" } else { "stock" };
    let mut jobs = jobs::list(layout, &table, name, backend, options)?;
    if let Some(variant) = &options.variant {
        kernel.name = format!("{}+{}", kernel.name, variant.name);
    }
    if let Some(base) = base {
        jobs.jobs
            .extend(kernel::selftests(layout, base, &options.with)?);
    }
    narrow(&mut jobs, &options.only)?;
    if !jobs.jobs.iter().any(|job| job.name == CONFORMANCE) {
        // What is known about the contract on this kernel stays.
        kernel.name.push_str("-part");
    }
    go(layout, &kernel, jobs, &table, options)
}

/// Gets the packages that a kernel is made from; whether they are not what the pins say.
pub(crate) fn fetch(layout: &Layout, name: &str) -> Result<Option<String>> {
    let pins = pins(layout)?;
    let base = name.strip_prefix("native-");
    let pin = base.map_or_else(|| name.to_owned(), |base| format!("source-{base}"));
    let fetched = Apt::new(layout).fetch(&pin, pins.get(&pin)?)?;
    let mut drift = Vec::from_iter(fetched.choice.drift);
    if base.is_some() {
        drift.extend(toolchain::rust_lib_src(layout, &pins)?.1);
    }
    Ok((!drift.is_empty()).then(|| drift.join("; ")))
}

/// Gets a kernel, or builds it.
pub(crate) fn prepare(layout: &Layout, name: &str, options: &Options) -> Result<Kernel> {
    match (name.strip_prefix("native-"), &options.image) {
        (Some(_), Some(image)) => Ok(Kernel {
            name: name.to_owned(),
            release: format!("of {}", image.display()),
            image: image.clone(),
            modules: None,
            ours: Vec::new(),
            drift: Some("an image that was built elsewhere".to_owned()),
        }),
        (Some(base), None) => kernel::build(layout, base, &options.with, None),
        (None, None) if options.with.is_empty() => stock::prepare(layout, &pins(layout)?, name),
        (None, _) => {
            bail!("{name} is the distribution's kernel; --with and --image are for native ones")
        }
    }
}

/// Boots a kernel, runs one program in it and shows what it prints.
pub(crate) fn run_program(
    layout: &Layout,
    name: &str,
    argv: &[String],
    options: &Options,
) -> Result<Results> {
    let mut kernel = prepare(layout, name, options)?;
    kernel.name = format!("run-{}", kernel.name);
    let mut jobs = Jobs::default();
    jobs.jobs.push(Job {
        name: "program".to_owned(),
        argv: argv.to_vec(),
        cwd: layout.repo.clone(),
        seconds: options.minutes * 60,
        ..Job::default()
    });
    let results = go(layout, &kernel, jobs, &Table::read(layout)?, options)?;
    let log = layout.results().join(&kernel.name).join("program.log");
    say(&String::from_utf8_lossy(&std::fs::read(log)?));
    Ok(results)
}

/// Keeps only the jobs that were asked for.
fn narrow(jobs: &mut Jobs, only: &[String]) -> Result<()> {
    if !only.is_empty() {
        let wanted = |job: &Job| only.iter().any(|word| job.name.contains(word.as_str()));
        jobs.jobs.retain(wanted);
    }
    if jobs.jobs.is_empty() {
        bail!("no job has {} in its name", only.join(" or "));
    }
    Ok(())
}

/// Boots a kernel with a list of jobs, and says what came of it.
pub(crate) fn go(
    layout: &Layout,
    kernel: &Kernel,
    jobs: Jobs,
    table: &Table,
    options: &Options,
) -> Result<Results> {
    let dir = layout.results().join(&kernel.name);
    let ran = boot::boot(layout, kernel, jobs.jobs, &dir, options)?;
    let mut results = Results::collect(&kernel.name, &kernel.release, &ran, &dir);
    results.drift = kernel.drift.clone();
    results.left_out = jobs.left_out;
    if let Ok(json) = std::fs::read(dir.join(format!("{CONFORMANCE}.json"))) {
        let known = table.differing(&kernel.name);
        match Sentences::judge(&json, &known) {
            Ok(sentences) => results.sentences = Some(sentences),
            Err(error) => results.broken.push(format!("{error:#}")),
        }
    }
    results.write(&dir)?;
    if !options.quiet {
        tell(&results, &ran.last_lines, &dir);
    }
    Ok(results)
}

/// What a person wants to know first.
fn tell(results: &Results, last_lines: &[String], dir: &Path) {
    let (pass, fail, skip) = results.tests();
    let kernel = &results.kernel;
    for job in results.jobs.iter().filter(|j| j.verdict == "fail") {
        let log = std::fs::read(dir.join(format!("{}.log", job.name))).unwrap_or_default();
        let end = run::last_lines(&String::from_utf8_lossy(&log), 40);
        say(&format!("--- {kernel} {}: {}\n{end}", job.name, job.reason));
    }
    for words in &results.broken {
        say(&format!("{kernel}: BROKEN: {words}"));
    }
    if !results.broken.is_empty() {
        say(&format!(
            "--- {kernel}: the end of its console\n{}",
            last_lines.join("\n")
        ));
    }
    if let Some(line) = results.slow.first() {
        let count = results.slow.len();
        say(&format!(
            "{kernel}: stood still {count} times (a busy machine): {line}"
        ));
    }
    if let Some(s) = &results.sentences {
        for words in &s.differs {
            say(&format!("{kernel}: differs: {words}"));
        }
        for case in &s.hold_after_all {
            say(&format!(
                "{kernel}: {case} holds, and kernel/guest.toml says that it differs"
            ));
        }
        say(&format!(
            "{kernel}: {} sentences hold, {} differ as known, {} differ, {} are not possible here",
            s.holds,
            s.known,
            s.differs.len(),
            s.not_possible
        ));
    }
    for (names, times) in results.other_races() {
        say(&format!(
            "{kernel}: a data race in code that is not ours, {times} times: {names}"
        ));
    }
    let count = |word: &str| results.jobs.iter().filter(|j| j.verdict == word).count();
    say(&format!(
        "{kernel}: {} jobs pass, {} fail, {} skip; tests: {pass} pass, {fail} fail, {skip} skip themselves; {:.0} s; {}",
        count("pass"),
        count("fail"),
        count("skip"),
        results.seconds,
        dir.display()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_nothing_is_an_error() {
        let mut jobs = Jobs::default();
        for name in ["conformance", "mctl.plan"] {
            jobs.jobs.push(Job {
                name: name.into(),
                ..Job::default()
            });
        }
        narrow(&mut jobs, &["plan".into()]).unwrap();
        assert_eq!(jobs.jobs.len(), 1);
        assert!(narrow(&mut jobs, &["nothing".into()]).is_err());
    }
}
