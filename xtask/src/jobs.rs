//! What runs in a guest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use mctl_guest_init::{Job, SHARE};
use serde::Deserialize;

use crate::guest::Options;
use crate::initramfs::cargo;
use crate::layout::Layout;
use crate::run;

/// The packages whose tests run in a guest.
const TESTED: [&str; 4] = ["mctl-sys", "mctl", "mctl-cli", "mctl-capi"];
/// The test target that acts on the whole machine, and the package it is in.
const HOST_WIDE: (&str, &str) = ("mctl-cli", "host_wide");
/// What an ordinary user cannot run at all.
const NEED_ROOT: [(&str, &str); 2] = [
    (
        CONFORMANCE,
        "it starts processes of several users, which only root may",
    ),
    (
        "mctl-cli.host_wide",
        "it turns the machine's knobs, which only root may",
    ),
];
/// Time for a test executable, unless the table has another; emulation is slow.
const SECONDS: u64 = 240;
/// The conformance suite.
pub(crate) const CONFORMANCE: &str = "conformance";

/// `kernel/guest.toml`: what is left out in guests and why, and who gets more time.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    #[serde(default)]
    skip: Vec<Skip>,
    #[serde(default)]
    job: Vec<Tuning>,
    #[serde(default)]
    differs: Vec<Differs>,
}

/// A sentence that is known not to hold on some kernels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Differs {
    pub(crate) cases: Vec<String>,
    /// The kernels' names, or their beginnings with a star.
    pub(crate) kernels: Vec<String>,
    pub(crate) reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// `package.target`.
    target: String,
    /// One test of it; else all.
    #[serde(default)]
    test: Option<String>,
    /// The kernels, as in `differs`; else every one.
    #[serde(default)]
    kernels: Vec<String>,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tuning {
    target: String,
    #[serde(default)]
    seconds: Option<u64>,
    /// How many rounds of something, where a test lets itself be told.
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// A test executable that cargo built.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// `package.target`
    name: String,
    executable: PathBuf,
    package_dir: PathBuf,
}

/// The jobs, and what was left out and why.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    pub(crate) jobs: Vec<Job>,
    pub(crate) left_out: Vec<(String, String)>,
}

fn is_one_of(names: &[String], kernel: &str) -> bool {
    names.iter().any(|name| match name.strip_suffix('*') {
        Some(begin) => kernel.starts_with(begin),
        None => kernel == name,
    })
}

impl Table {
    pub(crate) fn read(layout: &Layout) -> Result<Self> {
        let path = layout.repo.join("kernel/guest.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let table: Self = toml::from_str(text)?;
        if let Some(skip) = table.skip.iter().find(|s| s.reason.trim().is_empty()) {
            bail!("{}: nothing is left out without a reason", skip.target);
        }
        if table.differs.iter().any(|d| d.reason.trim().is_empty()) {
            bail!("no sentence may differ without a reason");
        }
        Ok(table)
    }

    fn skips<'a>(&'a self, target: &'a str, kernel: &'a str) -> impl Iterator<Item = &'a Skip> {
        let here = |s: &Skip| s.kernels.is_empty() || is_one_of(&s.kernels, kernel);
        let fits = move |s: &&Skip| s.target == target && here(s);
        self.skip.iter().filter(fits)
    }

    fn seconds(&self, target: &str) -> u64 {
        let found = self.tuning(target).and_then(|t| t.seconds);
        found.unwrap_or(SECONDS)
    }

    fn tuning(&self, target: &str) -> Option<&Tuning> {
        self.job.iter().find(|t| t.target == target)
    }

    /// The sentences that are known not to hold on a kernel, with the reason.
    pub(crate) fn differing(&self, kernel: &str) -> BTreeMap<&str, &str> {
        // A variant of the machine is under the same kernel.
        let kernel = kernel.split('+').next().unwrap_or(kernel);
        let here = |d: &&Differs| is_one_of(&d.kernels, kernel);
        let entries = self.differs.iter().filter(here);
        entries
            .flat_map(|d| {
                d.cases
                    .iter()
                    .map(|case| (case.as_str(), d.reason.as_str()))
            })
            .collect()
    }

    /// Names in the table that are no target: a renamed test must not go on being left out.
    fn unknown(&self, targets: &[Target]) -> Vec<String> {
        let known = |name: &str| name == CONFORMANCE || targets.iter().any(|t| t.name == name);
        let skips = self.skip.iter().map(|s| &s.target);
        let times = self.job.iter().map(|t| &t.target);
        let unknown = skips.chain(times).filter(|name| !known(name));
        unknown.cloned().collect()
    }
}

/// Builds what runs in guests, and lists it for one kernel.
pub(crate) fn list(
    layout: &Layout,
    table: &Table,
    kernel: &str,
    backend: &str,
    options: &Options,
) -> Result<Jobs> {
    let choice = choice(&options.only);
    let targets = targets(layout, choice.as_deref())?;
    let unknown = table.unknown(&targets);
    // Whether a name exists can be told only where everything was built.
    if choice.is_none() && !unknown.is_empty() {
        bail!(
            "kernel/guest.toml: no such test target: {}",
            unknown.join(", ")
        );
    }
    let mut jobs = Jobs::default();
    let user = options.variant.as_ref().and_then(|v| v.user);
    for (name, why) in NEED_ROOT.iter().filter(|_| user.is_some()) {
        jobs.left_out.push(((*name).to_owned(), (*why).to_owned()));
    }
    let possible = |name: &str| user.is_none() || NEED_ROOT.iter().all(|(n, _)| *n != name);
    if possible(CONFORMANCE) {
        let arrange = options.variant.is_none();
        jobs.jobs.push(conformance(layout, table, backend, arrange));
    }
    for target in targets.iter().filter(|target| possible(&target.name)) {
        add(&mut jobs, table, layout, target, kernel);
    }
    Ok(jobs)
}

/// `arrange`: a guest's knobs are ours to turn, unless the run is about how they are.
fn conformance(layout: &Layout, table: &Table, backend: &str, arrange: bool) -> Job {
    let arrange = if arrange { " --arrange-host" } else { "" };
    let program = layout.target.join("debug/mctl-conformance");
    Job {
        name: CONFORMANCE.to_owned(),
        argv: vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            // A sentence that differs is the report's business, not a failure to make one.
            format!(
                "{p} run --backend {backend}{arrange} --json > {SHARE}/{CONFORMANCE}.json; \
                 [ $? -le 1 ]",
                p = program.display()
            ),
        ],
        cwd: layout.repo.clone(),
        seconds: table.seconds(CONFORMANCE),
        ..Job::default()
    }
}

fn add(jobs: &mut Jobs, table: &Table, layout: &Layout, target: &Target, kernel: &str) {
    let mut argv = vec![target.executable.display().to_string()];
    for skip in table.skips(&target.name, kernel) {
        let Some(test) = &skip.test else {
            jobs.left_out
                .push((target.name.clone(), skip.reason.clone()));
            return;
        };
        let name = format!("{} {test}", target.name);
        jobs.left_out.push((name, skip.reason.clone()));
        argv.extend(["--skip".to_owned(), test.clone()]);
    }
    // So that a test which skips itself says so in the log.
    argv.push("--show-output".to_owned());
    if target.name == format!("{}.{}", HOST_WIDE.0, HOST_WIDE.1) {
        argv.extend(["--ignored", "--test-threads=1"].map(str::to_owned));
    }
    let mut env = BTreeMap::from([
        (
            "CARGO_MANIFEST_DIR".to_owned(),
            target.package_dir.display().to_string(),
        ),
        ("INSTA_UPDATE".to_owned(), "no".to_owned()),
        // What does not depend on the kernel is tested at home.
        ("PROPTEST_CASES".to_owned(), "8".to_owned()),
        (
            "INSTA_WORKSPACE_ROOT".to_owned(),
            layout.repo.display().to_string(),
        ),
    ]);
    if let Some(tuning) = table.tuning(&target.name) {
        env.extend(tuning.env.clone());
    }
    jobs.jobs.push(Job {
        name: target.name.clone(),
        argv,
        cwd: target.package_dir.clone(),
        env,
        seconds: table.seconds(&target.name),
        skip_status: None,
    });
}

/// The test targets that these words can mean, as package and target, if that can be told without
/// building all of them.
fn choice(only: &[String]) -> Option<Vec<(String, String)>> {
    if only.is_empty() {
        return None;
    }
    let mut chosen = Vec::new();
    for word in only {
        if word == CONFORMANCE || word.starts_with("selftest") {
            continue;
        }
        let pair = if word == HOST_WIDE.1 {
            HOST_WIDE
        } else {
            word.split_once('.').filter(|(p, _)| TESTED.contains(p))?
        };
        if ["lib", "bin", "cdylib"].contains(&pair.1) || pair.1.is_empty() {
            return None;
        }
        chosen.push((pair.0.to_owned(), pair.1.to_owned()));
    }
    Some(chosen)
}

/// Builds the tests, and everything that they run.
fn targets(layout: &Layout, choice: Option<&[(String, String)]>) -> Result<Vec<Target>> {
    let cargo = || {
        let mut command = Command::new(cargo());
        command
            .current_dir(&layout.repo)
            .env("CARGO_TARGET_DIR", &layout.target);
        command
    };
    // Always as part of the whole workspace: with another selection cargo unifies features differently and
    // builds everything once more.
    run::run(cargo().args([
        "build",
        "--workspace",
        "--locked",
        "--quiet",
        "--bin",
        "mctl-conformance",
    ]))?;
    let mut build = cargo();
    build.args([
        "test",
        "--workspace",
        "--no-run",
        "--locked",
        "--quiet",
        "--message-format=json",
    ]);
    match choice {
        Some([]) => return Ok(Vec::new()),
        Some(chosen) => {
            for (_, target) in chosen {
                build.args(["--test", target]);
            }
        }
        None => {}
    }
    let mut targets = parse_targets(&run::text(&mut build)?)?;
    targets.retain(|target| {
        let package = target.name.split('.').next().unwrap_or_default();
        TESTED.contains(&package)
    });
    // The C programs that the tests start; in the guest there may be no room to compile them.
    run::text(cargo().args([
        "test",
        "--workspace",
        "--locked",
        "--quiet",
        "--test",
        "every_program",
    ]))?;
    Ok(targets)
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<MessageTarget>,
    executable: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct MessageTarget {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// The test executables in cargo's messages. Unit tests of libraries too: their code asks the kernel
/// as well.
fn parse_targets(messages: &str) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line).context("cargo's messages")?;
        let (Some(target), Some(executable), Some(manifest)) =
            (message.target, message.executable, message.manifest_path)
        else {
            continue;
        };
        if message.reason != "compiler-artifact" || !message.profile.is_some_and(|p| p.test) {
            continue;
        }
        let package_dir = manifest.parent().unwrap_or(Path::new("/")).to_path_buf();
        let package = package_dir.file_name().unwrap_or_default();
        let name = match target.kind.first().map(String::as_str) {
            Some("test") => target.name,
            Some(kind) => kind.to_owned(),
            None => continue,
        };
        targets.push(Target {
            name: format!("{}.{name}", package.to_string_lossy()),
            executable,
            package_dir,
        });
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    if targets.is_empty() {
        bail!("cargo built no test");
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"
{"reason":"compiler-artifact","manifest_path":"/r/crates/mctl-sys/Cargo.toml","target":{"kind":["test"],"name":"kills"},"profile":{"test":true},"executable":"/t/kills-1"}
{"reason":"compiler-artifact","manifest_path":"/r/crates/mctl-sys/Cargo.toml","target":{"kind":["lib"],"name":"mctl_sys"},"profile":{"test":true},"executable":"/t/mctl_sys-1"}
{"reason":"compiler-artifact","manifest_path":"/r/crates/mctl-cli/Cargo.toml","target":{"kind":["bin"],"name":"mctl"},"profile":{"test":false},"executable":"/t/mctl"}
{"reason":"build-finished","success":true}
"#;

    #[test]
    fn test_executables_are_found_in_cargos_messages() {
        let targets = parse_targets(MESSAGES).unwrap();
        let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["mctl-sys.kills", "mctl-sys.lib"]);
        assert_eq!(targets[0].package_dir, Path::new("/r/crates/mctl-sys"));
        assert!(parse_targets("").is_err());
    }

    #[test]
    fn a_choice_that_can_be_told_is_built_alone() {
        let words =
            |list: &[&str]| -> Vec<String> { list.iter().map(|w| (*w).to_owned()).collect() };
        let some = choice(&words(&["conformance", "host_wide", "mctl.apply"])).unwrap();
        let pairs = [("mctl-cli", "host_wide"), ("mctl", "apply")];
        let pairs = pairs.map(|(p, t)| (p.to_owned(), t.to_owned()));
        assert_eq!(some, pairs);
        assert_eq!(choice(&words(&["selftest.mctl_thp"])), Some(Vec::new()));
        for vague in ["apply", "mctl.lib", "other.apply"] {
            assert_eq!(choice(&words(&[vague])), None, "{vague}");
        }
        assert_eq!(choice(&[]), None);
    }

    #[test]
    fn what_is_left_out_has_a_reason_and_a_kernel() {
        let table = Table::parse(
            "[[skip]]\ntarget = 'mctl-sys.kills'\ntest = 'slow'\nreason = 'time'\n\
             [[skip]]\ntarget = 'mctl-sys.lib'\nkernels = ['stock-6.1']\nreason = 'none'\n\
             [[job]]\ntarget = 'mctl-sys.kills'\nseconds = 9\nenv = { ROUNDS = '3' }\n\
             [[differs]]\ncases = ['1/a']\nkernels = ['stock-6.*']\nreason = 'old'\n",
        )
        .unwrap();
        let targets = parse_targets(MESSAGES).unwrap();
        assert!(table.unknown(&targets).is_empty());
        let layout = Layout {
            repo: PathBuf::from("/r"),
            target: PathBuf::from("/t"),
            cache: PathBuf::from("/t/kernel"),
        };
        let mut jobs = Jobs::default();
        for target in &targets {
            add(&mut jobs, &table, &layout, target, "stock-6.1");
        }
        assert_eq!(jobs.jobs[0].env["ROUNDS"], "3");
        assert_eq!(table.differing("stock-6.12")["1/a"], "old");
        assert_eq!(table.differing("stock-6.12+swap")["1/a"], "old");
        assert!(table.differing("native-6.12").is_empty());
        assert_eq!(jobs.jobs.len(), 1);
        assert_eq!(jobs.left_out.len(), 2);
        assert_eq!(
            jobs.jobs[0].argv,
            ["/t/kills-1", "--skip", "slow", "--show-output"]
        );
        assert_eq!(jobs.jobs[0].seconds, 9);
        let mut jobs = Jobs::default();
        add(&mut jobs, &table, &layout, &targets[1], "native-7.3");
        assert_eq!(jobs.jobs.len(), 1);
        let why = "[[differs]]\ncases = ['a']\nkernels = ['']\nreason = ''\n";
        assert!(Table::parse(why).is_err());
        assert!(Table::parse("[[skip]]\ntarget = 'x'\nreason = ' '\n").is_err());
        let renamed = Table::parse("[[skip]]\ntarget = 'x'\nreason = 'y'\n").unwrap();
        assert_eq!(renamed.unknown(&targets), ["x"]);
    }
}
