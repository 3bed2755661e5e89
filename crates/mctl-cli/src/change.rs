//! What `mctl set` and `mctl clear` have in common.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use mctl::coverage::Bytes;
use mctl::{
    Atomicity, Error, Exactness, HostCaps, Outcome, Plan, PolicyKind, ProcessSpec, Request, Rule,
    Target, TreeOutcome,
};
use serde::Serialize;

use crate::fail::{Ended, Fail};
use crate::{exit, limits, report, splitting, words};

mod huge;
mod progress;
mod tell;

use progress::Progress;

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
    /// Change a process of your own though a seccomp filter on it may forbid the call: a filter that does not expect prctl(2) may kill the process for it
    #[arg(long, conflicts_with_all = ["tree", "cgroup", "atomic"])]
    through_filter: bool,
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
    /// What is in huge pages under a policy that forbids new ones; only where that was set.
    still_huge: Option<Bytes>,
    /// What became of splitting them, where that was asked for.
    split: Option<Result<splitting::Outcome, Error>>,
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
            still_huge: None,
            split: None,
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
    /// What of the groups is known not to have been reached.
    left_out: mctl::LeftOut,
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
    after: After,
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
    if after.split {
        // Where nothing would come back, nothing is changed either.
        mctl::split::probe()?;
    }
    let work = Work {
        args,
        after,
        request: &request,
        caps: &caps,
    };
    let mut sum = work.do_all(&specs)?;
    let interrupted = work.look_after(&mut sum);
    let code = work.tell(sum)?;
    if !interrupted {
        return Ok(code);
    }
    report::error(
        "interrupted; the policy is in force, and what was split stays split",
        None,
    );
    Ok(exit::INTERRUPTED)
}

fn check_words(args: &Change, specs: &[ProcessSpec]) -> Result<(), Fail> {
    match (&args.cgroup, specs) {
        (None, []) => Err(Fail::Usage {
            why: "no process was named".to_owned(),
            hint: Some("give process numbers, or --cgroup PATH".to_owned()),
        }),
        (Some(_), [_, ..]) => Err(Fail::usage("name processes or a cgroup, not both at once")),
        (_, [_, _, ..]) if args.through_filter => Err(Fail::usage(
            "--through-filter takes one process: each may die of it",
        )),
        (_, [_, _, ..]) if args.tree && args.atomic => {
            Err(Fail::usage("--atomic takes one tree at a time"))
        }
        _ => Ok(()),
    }
}

/// What is done to the processes once the policies are in force.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct After {
    /// Split the huge pages that are there.
    pub(crate) split: bool,
}

struct Work<'a> {
    args: &'a Change,
    after: After,
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
                let members = mctl::tree::members_of_cgroup(path)?.to_change(None);
                sum.entries = self.plan_each(&members.processes);
                sum.leave_out(members.left_out);
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
        if self.args.through_filter && !self.args.quiet {
            report::note(
                "--through-filter: a filter that does not expect prctl(2) may kill the process for it",
            );
        }
        // Every process is opened, and so held, before the first is touched.
        let mut targets = Vec::with_capacity(specs.len());
        let mut seen = HashSet::with_capacity(specs.len());
        for spec in specs {
            let opened = Target::open(*spec).and_then(|target| match self.args.through_filter {
                true => target.through_filter(),
                false => Ok(target),
            });
            match opened {
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
        } else {
            self.list(&targets, &mut sum);
        }
        Ok(sum)
    }

    /// An entry for a target; its name and inode only where they are shown.
    fn entry(&self, target: &Target, result: Result<Done, Error>) -> Entry {
        let shown = self.args.verbose || self.args.json || self.args.dry_run || self.after.split;
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
            still_huge: None,
            split: None,
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

    fn list(&self, targets: &[Target], sum: &mut Sum) {
        let refs: Vec<&Target> = targets.iter().collect();
        let list = mctl::apply_list(self.request, &refs, self.caps, self.atomicity());
        let told = targets.iter().zip(list.results);
        sum.entries.extend(told.filter_map(|(target, result)| {
            result.map(|result| self.entry(target, result.map(Done::Applied)))
        }));
        sum.put_back(list.rollback);
    }

    fn trees(&self, roots: &[Target], sum: &mut Sum) {
        for (at, root) in roots.iter().enumerate() {
            if self.args.dry_run {
                match mctl::tree::members_of_tree(root) {
                    Ok(members) => {
                        let members = members.to_change(Some(root));
                        sum.entries.extend(self.plan_each(&members.processes));
                        sum.leave_out(members.left_out);
                    }
                    Err(error) => sum.entries.push(Entry::failed(root.spec(), error)),
                }
                continue;
            }
            let mut progress = Progress::new();
            let outcome = mctl::in_share(roots.len() - at, || {
                mctl::apply_tree(
                    self.request,
                    root,
                    self.caps,
                    self.atomicity(),
                    &mut |member| progress.step(member),
                )
            });
            progress.end();
            match outcome {
                Ok(outcome) => sum.take(outcome),
                Err(error) => sum.entries.push(Entry::failed(root.spec(), error)),
            }
        }
    }
}

impl Sum {
    fn put_back(&mut self, rollback: Option<mctl::Rollback>) {
        let Some(rollback) = rollback else { return };
        for (spec, why) in &rollback.failed {
            report::error(&format!("process {}: put back: {why}", spec.pid), None);
        }
        self.rollback = Some(Rollback {
            restored: rollback.restored,
            failed: rollback.failed.len() as u64,
        });
    }

    fn leave_out(&mut self, left_out: mctl::LeftOut) {
        self.left_out.invisible += left_out.invisible;
        self.left_out.uncounted |= left_out.uncounted;
        self.left_out.orphans.extend(left_out.orphans);
    }

    fn take(&mut self, outcome: TreeOutcome) {
        self.leave_out(outcome.left_out);
        self.ended += outcome.ended;
        self.incomplete |= !outcome.complete && outcome.rollback.is_none();
        self.put_back(outcome.rollback);
        self.entries
            .extend(outcome.members.into_iter().map(|member| Entry {
                spec: member.spec,
                name: Some(member.name),
                result: member.result.map(Done::Applied),
                still_huge: None,
                split: None,
            }));
    }
}
