//! What `mctl set` and `mctl clear` have in common.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use mctl::{
    Atomicity, Error, Exactness, HostCaps, Member, Outcome, Plan, PolicyKind, ProcessSpec, Request,
    Rule, Step, Target, TreeOutcome,
};
use serde::Serialize;

use crate::exit;
use crate::fail::{Ended, Fail};
use crate::limits;
use crate::output::Out;
use crate::report::{self, Notes};
use crate::words;

/// The arguments of both.
#[derive(Args, Debug)]
pub(crate) struct Change {
    /// The policies, then the processes
    #[arg(
        value_name = "POLICY... PID",
        required = true,
        allow_negative_numbers = true
    )]
    pub(crate) words: Vec<OsString>,
    /// Name a process; may be repeated
    #[arg(short, long, value_name = "PID", allow_hyphen_values = true)]
    pid: Vec<OsString>,
    /// Include all descendants of the processes, also those forked meanwhile
    #[arg(long, conflicts_with = "cgroup")]
    tree: bool,
    /// Take every process of this cgroup and of those below it
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::DirPath)]
    cgroup: Option<PathBuf>,
    /// Fail where the kernel cannot do exactly what is asked
    #[arg(long)]
    pub(crate) strict: bool,
    /// Demand CAP_SYS_ADMIN over the processes, as the mctl() system call does
    #[arg(long)]
    admin: bool,
    /// Where one process fails, put back those already changed
    #[arg(long)]
    atomic: bool,
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    /// Say nothing about what holds less than was asked
    #[arg(short, long)]
    quiet: bool,
    /// Print a line for every process
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
}

/// What became of one process.
#[derive(Debug)]
struct Entry {
    spec: ProcessSpec,
    /// Asked for only where it is shown.
    name: Option<String>,
    result: Result<Done, Error>,
}

#[derive(Debug)]
enum Done {
    Applied(Outcome),
    Planned(Plan),
}

impl Entry {
    fn failed(spec: ProcessSpec, error: Error) -> Entry {
        Entry {
            spec,
            name: None,
            result: Err(error),
        }
    }
}

/// What became of a request as a whole.
#[derive(Debug, Default)]
struct Sum {
    entries: Vec<Entry>,
    /// Trees and cgroups: processes that ended before they could be treated.
    ended: u64,
    /// Whether a group still brought forth untreated processes at the end.
    incomplete: bool,
    /// What became of putting things back, where that had to be.
    rollback: Option<Rollback>,
}

#[derive(Debug, Default, Serialize)]
struct Rollback {
    restored: u64,
    failed: u64,
}

/// Carries a change out.
pub(crate) fn change(
    args: &Change,
    build: impl FnOnce(&[PolicyKind]) -> Result<Request, Fail>,
) -> Ended {
    let (kinds, specs) = words::split(&args.words, &args.pid)?;
    check_words(args, &specs)?;
    let mut request = build(&kinds)?;
    if args.strict {
        request.exactness = Exactness::Strict;
    }
    if args.admin {
        request.rule = Rule::Admin;
    }
    let caps = HostCaps::probe_for(&kinds)?;
    let work = Work {
        args,
        request: &request,
        caps: &caps,
    };
    let sum = work.do_all(&specs)?;
    work.tell(sum)
}

fn check_words(args: &Change, specs: &[ProcessSpec]) -> Result<(), Fail> {
    match (&args.cgroup, specs) {
        (None, []) => Err(Fail::Usage {
            why: "no process was named".to_owned(),
            hint: Some("give process numbers, or --cgroup PATH".to_owned()),
        }),
        (Some(_), [_, ..]) => Err(Fail::usage("name processes or a cgroup, not both at once")),
        (_, [_, _, ..]) if args.tree && args.atomic => {
            Err(Fail::usage("--atomic takes one tree at a time"))
        }
        _ => Ok(()),
    }
}

struct Work<'a> {
    args: &'a Change,
    request: &'a Request,
    caps: &'a HostCaps,
}

impl Work<'_> {
    fn atomicity(&self) -> Atomicity {
        if self.args.atomic {
            Atomicity::AllOrNothing
        } else {
            Atomicity::Each
        }
    }

    fn do_all(&self, specs: &[ProcessSpec]) -> Result<Sum, Fail> {
        let mut sum = Sum::default();
        let group = self.args.tree || self.args.cgroup.is_some();
        limits::open_files_for(specs.len(), group);
        if let Some(path) = &self.args.cgroup {
            if self.args.dry_run {
                let members = mctl::tree::members_of_cgroup(path)?;
                sum.entries = self.plan_each(&members);
                return Ok(sum);
            }
            let mut progress = Progress::new();
            let outcome = mctl::apply_cgroup(
                self.request,
                path,
                self.caps,
                self.atomicity(),
                &mut |member| progress.step(member),
            );
            progress.end();
            sum.take(outcome?);
            return Ok(sum);
        }
        // Every process is opened, and so held, before the first is touched.
        let mut targets = Vec::with_capacity(specs.len());
        let mut seen = HashSet::with_capacity(specs.len());
        for spec in specs {
            match Target::open(*spec) {
                // A process that was named twice is held already: it is the same one.
                Ok(target) if !seen.insert(target.pid()) => {}
                Ok(target) => targets.push(target),
                Err(error) => sum.entries.push(Entry::failed(*spec, error)),
            }
        }
        if self.args.atomic && !sum.entries.is_empty() {
            sum.rollback = Some(Rollback::default());
            return Ok(sum);
        }
        if self.args.tree {
            self.trees(&targets, &mut sum);
        } else if self.args.dry_run {
            sum.entries.extend(self.plan_each(&targets));
        } else if self.args.atomic {
            self.all_or_nothing(&targets, &mut sum);
        } else {
            let refs: Vec<&Target> = targets.iter().collect();
            let results = mctl::apply_each(self.request, &refs, self.caps);
            sum.entries.extend(
                targets
                    .iter()
                    .zip(results)
                    .map(|(target, result)| self.entry(target, result.map(Done::Applied))),
            );
        }
        Ok(sum)
    }

    /// An entry for a target; its name and inode only where they are shown.
    fn entry(&self, target: &Target, result: Result<Done, Error>) -> Entry {
        let shown = self.args.verbose || self.args.json || self.args.dry_run;
        Entry {
            spec: if shown {
                target.spec()
            } else {
                ProcessSpec {
                    pid: target.pid(),
                    inode: None,
                }
            },
            name: shown.then(|| target.name()),
            result,
        }
    }

    fn plan_each(&self, targets: &[Target]) -> Vec<Entry> {
        targets
            .iter()
            .map(|target| {
                let plan = mctl::dry_run(self.request, target, self.caps);
                self.entry(target, plan.map(Done::Planned))
            })
            .collect()
    }

    fn trees(&self, roots: &[Target], sum: &mut Sum) {
        for root in roots {
            if self.args.dry_run {
                match mctl::tree::members_of_tree(root) {
                    Ok(members) => sum.entries.extend(self.plan_each(&members)),
                    Err(error) => sum.entries.push(Entry::failed(root.spec(), error)),
                }
                continue;
            }
            let mut progress = Progress::new();
            let outcome = mctl::apply_tree(
                self.request,
                root,
                self.caps,
                self.atomicity(),
                &mut |member| progress.step(member),
            );
            progress.end();
            match outcome {
                Ok(outcome) => sum.take(outcome),
                Err(error) => sum.entries.push(Entry::failed(root.spec(), error)),
            }
        }
    }

    /// Checks every target first, then changes them, and puts back what was changed if one fails
    /// all the same.
    fn all_or_nothing(&self, targets: &[Target], sum: &mut Sum) {
        let mut plans = self.plan_each(targets);
        for entry in &mut plans {
            if let Ok(Done::Planned(plan)) = &entry.result
                && plan
                    .steps
                    .iter()
                    .any(|step| matches!(step, Step::Advise { .. }))
            {
                entry.result = Err(Error::Unsupported {
                    what: format!("{} for all or none", self.request.words()),
                    why: "on this host it goes by advice on mappings, which cannot be taken back"
                        .to_owned(),
                });
            }
        }
        if plans.iter().any(|entry| entry.result.is_err()) {
            sum.entries
                .extend(plans.into_iter().filter(|entry| entry.result.is_err()));
            sum.rollback = Some(Rollback::default());
            return;
        }
        let refs: Vec<&Target> = targets.iter().collect();
        let results = mctl::apply_each(self.request, &refs, self.caps);
        if results.iter().any(Result::is_err) {
            let mut rollback = Rollback::default();
            for (target, result) in targets.iter().zip(&results).rev() {
                let Ok(outcome) = result else { continue };
                if !outcome.changed() {
                    continue;
                }
                match mctl::restore(target, outcome) {
                    Ok(()) => rollback.restored += 1,
                    Err(error) => {
                        let who = target.pid().to_string();
                        report::error(&report::sentence(&error, &who, "put back"), None);
                        rollback.failed += 1;
                    }
                }
            }
            sum.rollback = Some(rollback);
        }
        sum.entries.extend(
            targets
                .iter()
                .zip(results)
                .map(|(target, result)| self.entry(target, result.map(Done::Applied))),
        );
    }

    /// Says what became of it: errors and notes on standard error, the rest on standard output.
    fn tell(&self, sum: Sum) -> Ended {
        let what = self.request.words();
        let mut code = exit::DONE;
        let mut notes = Notes::default();
        let mut out = Out::new();
        for entry in &sum.entries {
            let who = entry.spec.pid.to_string();
            match &entry.result {
                Err(error) => {
                    code = exit::FAILED;
                    let sentence = report::sentence(error, &who, &what);
                    report::error(&sentence, self.hint(error).as_deref());
                }
                Ok(Done::Applied(outcome)) => {
                    notes.take(&who, outcome);
                    if self.args.verbose && !self.args.json {
                        applied_line(&mut out, entry, &what, outcome)?;
                    }
                }
                Ok(Done::Planned(plan)) => {
                    if !self.args.json {
                        plan_lines(&mut out, entry, plan)?;
                    }
                }
            }
        }
        if sum.incomplete {
            code = exit::FAILED;
            report::error(
                "not every process could be reached: new ones came faster than they were treated",
                Some("freeze or stop what forks, and do it again"),
            );
        }
        if let Some(rollback) = &sum.rollback {
            code = exit::FAILED;
            match rollback {
                Rollback {
                    restored: 0,
                    failed: 0,
                } => report::note("nothing was changed (--atomic)"),
                Rollback { restored, failed } => report::note(&format!(
                    "{restored} processes were put back to what they had (--atomic){}",
                    if *failed > 0 {
                        format!("; {failed} could not be")
                    } else {
                        String::new()
                    }
                )),
            }
        }
        if sum.entries.is_empty() && sum.rollback.is_none() {
            report::note("there is no process there");
        }
        if !self.args.quiet && sum.rollback.is_none() {
            notes.print();
        }
        if self.args.json {
            out.json(&Json::of(&what, &sum))?;
        } else if self.args.verbose && sum.ended > 0 {
            writeln!(out, "{} processes ended meanwhile", sum.ended)?;
        }
        out.finish()?;
        Ok(code)
    }

    fn hint(&self, error: &Error) -> Option<String> {
        error.hint().or_else(|| {
            (self.args.strict && matches!(error, Error::Unsupported { .. })).then(|| {
                "without --strict it is done as well as this kernel can; \
                 'mctl probe' shows how well that is"
                    .to_owned()
            })
        })
    }
}

impl Sum {
    fn take(&mut self, outcome: TreeOutcome) {
        self.ended += outcome.ended;
        self.incomplete |= !outcome.complete && outcome.rollback.is_none();
        if let Some(rollback) = outcome.rollback {
            for (spec, why) in &rollback.failed {
                report::error(&format!("process {}: put back: {why}", spec.pid), None);
            }
            self.rollback = Some(Rollback {
                restored: rollback.restored,
                failed: rollback.failed.len() as u64,
            });
        }
        self.entries
            .extend(outcome.members.into_iter().map(|member| Entry {
                spec: member.spec,
                name: Some(member.name),
                result: member.result.map(Done::Applied),
            }));
    }
}

fn who(entry: &Entry) -> String {
    match &entry.name {
        Some(name) => format!("{} ({name})", entry.spec.pid),
        None => entry.spec.pid.to_string(),
    }
}

fn applied_line(
    out: &mut Out,
    entry: &Entry,
    what: &str,
    outcome: &Outcome,
) -> std::io::Result<()> {
    let done = if outcome.changed() {
        "done"
    } else {
        "already so"
    };
    let mechanisms: Vec<&str> = outcome.mechanisms.iter().map(|m| m.word()).collect();
    let g = outcome.guarantees;
    write!(
        out,
        "{}: {what}: {done}; now {}, future {}, fork {}, exec {}; by {}; stopped {} µs",
        who(entry),
        g.now,
        g.future,
        g.fork,
        g.exec,
        mechanisms.join(", "),
        outcome.stopped.as_micros()
    )?;
    if let Some(counts) = &outcome.mappings {
        write!(
            out,
            "; mappings: {} advised, {} already, {} left alone",
            counts.changed,
            counts.already,
            counts.skipped_nohugepage + counts.skipped_file + counts.skipped_special
        )?;
    }
    writeln!(out)
}

fn plan_lines(out: &mut Out, entry: &Entry, plan: &Plan) -> std::io::Result<()> {
    let who = who(entry);
    for step in &plan.steps {
        writeln!(out, "{who}: would call {step}")?;
    }
    if plan.steps.is_empty() {
        writeln!(out, "{who}: nothing to do")?;
    }
    let g = plan.promised.guarantees;
    writeln!(
        out,
        "{who}: now {}, future {}, fork {}, exec {}",
        g.now, g.future, g.fork, g.exec
    )?;
    for note in &plan.promised.notes {
        writeln!(out, "{who}: {note}")?;
    }
    Ok(())
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    request: &'a str,
    processes: Vec<JsonProcess<'a>>,
    ended: u64,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback: &'a Option<Rollback>,
}

#[derive(Serialize)]
struct JsonProcess<'a> {
    pid: i32,
    inode: Option<u64>,
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<crate::report::JsonError>,
}

impl<'a> Json<'a> {
    fn of(request: &'a str, sum: &'a Sum) -> Json<'a> {
        let processes = sum
            .entries
            .iter()
            .map(|entry| {
                let (outcome, plan, error) = match &entry.result {
                    Ok(Done::Applied(outcome)) => (Some(outcome), None, None),
                    Ok(Done::Planned(plan)) => (None, Some(plan), None),
                    Err(error) => (None, None, Some(crate::report::JsonError::of(error))),
                };
                JsonProcess {
                    pid: entry.spec.pid,
                    inode: entry.spec.inode,
                    name: entry.name.as_deref(),
                    exact: outcome
                        .or(plan.map(|plan| &plan.promised))
                        .map(Outcome::is_exact),
                    changed: outcome.map(Outcome::changed),
                    outcome,
                    plan,
                    error,
                }
            })
            .collect();
        Json {
            request,
            processes,
            ended: sum.ended,
            complete: !sum.incomplete,
            rollback: &sum.rollback,
        }
    }
}

/// How many processes make a counter worth showing.
const MANY: u64 = 200;
const EVERY: Duration = Duration::from_millis(100);

/// A counter on standard error, only on a terminal and only for many processes.
struct Progress {
    terminal: bool,
    count: u64,
    shown: Option<Instant>,
}

impl Progress {
    fn new() -> Progress {
        Progress {
            terminal: std::io::stderr().is_terminal(),
            count: 0,
            shown: None,
        }
    }

    fn step(&mut self, _: &Member) {
        self.count += 1;
        if !self.terminal || self.count <= MANY {
            return;
        }
        if self.shown.is_none_or(|at| at.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            let _ = write!(std::io::stderr(), "\r{} processes", self.count);
        }
    }

    fn end(self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
