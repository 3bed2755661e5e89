//! What `mctl set` and `mctl clear` have in common.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use mctl::coverage::Bytes;
use mctl::operation::dry_run;
use mctl::{
    Atomicity, Error, Exactness, HostCaps, Outcome, Plan, PolicyChange, PolicyKind, ProcessSpec,
    Request, Rule, Target, TreeOutcome,
};
use serde::Serialize;

use super::{Row, Sum, split};
use crate::args::who;
use crate::fail::{Ended, Fail};
use crate::{limits, report, words};

mod huge;
mod progress;
mod tell;

use progress::Progress;
use tell::Told;

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
struct Changed {
    done: Done,
    /// What is in huge pages under a policy that forbids new ones; only where that was set.
    still_huge: Option<Bytes>,
    /// What became of splitting them, where that was asked for.
    split: Option<Result<split::Done, Error>>,
}

#[derive(Debug)]
enum Done {
    Applied(Outcome),
    Planned(Plan),
}

impl From<Done> for Changed {
    fn from(done: Done) -> Changed {
        Changed {
            done,
            still_huge: None,
            split: None,
        }
    }
}

/// What became of a request as a whole.
#[derive(Debug, Default)]
struct Group {
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
    let (mut sum, group) = work.do_all(&specs)?;
    sum.interrupted = work.look_after(&mut sum, &group);
    let told = Told { work, group };
    super::tell(&told, &sum)
}

fn check_words(args: &Change, specs: &[ProcessSpec]) -> Result<(), Fail> {
    who::check(args.cgroup.as_deref(), specs)?;
    match specs {
        [_, _, ..] if args.through_filter => Err(Fail::usage(
            "--through-filter takes one process: each may die of it",
        )),
        [_, _, ..] if args.tree && args.atomic => {
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

#[derive(Clone, Copy)]
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

    fn do_all(&self, specs: &[ProcessSpec]) -> Result<(Sum<Changed>, Group), Fail> {
        let mut sum = Sum::default();
        let mut group = Group::default();
        let any_group = self.args.tree || self.args.cgroup.is_some();
        limits::open_files_for(specs.len(), any_group);
        if let Some(path) = &self.args.cgroup {
            if self.args.dry_run {
                let members = mctl::tree::members_of_cgroup(path)?.to_change(None);
                sum.rows = self.plan_each(&members.processes);
                group.leave_out(members.left_out);
                return Ok((sum, group));
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
            group.take(outcome?, &mut sum);
            return Ok((sum, group));
        }
        if self.args.through_filter && !self.args.quiet {
            report::note(
                "--through-filter: a filter that does not expect prctl(2) may kill the process for it",
            );
        }
        // Every process is opened, and so held, before the first is touched.
        let opened = who::hold(specs, |spec| match self.args.through_filter {
            true => Target::open(spec)?.through_filter(),
            false => Target::open(spec),
        });
        sum.rows.extend(opened.failed.into_iter().map(Row::failed));
        let targets = opened.targets;
        if self.args.atomic && !sum.rows.is_empty() {
            group.rollback = Some(Rollback::default());
        } else if self.args.tree {
            self.trees(&targets, &mut sum, &mut group);
        } else if self.args.dry_run {
            sum.rows.extend(self.plan_each(&targets));
        } else {
            self.list(&targets, &mut sum, &mut group);
        }
        Ok((sum, group))
    }

    /// A row for a target; its name and inode only where they are shown.
    fn row(&self, target: &Target, result: Result<Done, Error>) -> Row<Changed> {
        let shown = self.args.verbose || self.args.json || self.args.dry_run || self.after.split;
        Row {
            spec: if shown {
                target.spec()
            } else {
                ProcessSpec {
                    pid: target.pid(),
                    inode: None,
                }
            },
            name: shown.then(|| target.name()),
            result: result.map(Changed::from),
        }
    }

    fn plan_each(&self, targets: &[Target]) -> Vec<Row<Changed>> {
        let change = PolicyChange::new(self.request, self.caps);
        let plan = |target| dry_run(&change, target).map(Done::Planned);
        let rows = targets.iter().map(|target| self.row(target, plan(target)));
        rows.collect()
    }

    fn list(&self, targets: &[Target], sum: &mut Sum<Changed>, group: &mut Group) {
        let refs: Vec<&Target> = targets.iter().collect();
        let list = mctl::apply_list(self.request, &refs, self.caps, self.atomicity());
        let told = targets.iter().zip(list.results);
        sum.rows.extend(told.filter_map(|(target, result)| {
            result.map(|result| self.row(target, result.map(Done::Applied)))
        }));
        group.put_back(list.rollback);
    }

    fn trees(&self, roots: &[Target], sum: &mut Sum<Changed>, group: &mut Group) {
        for (at, root) in roots.iter().enumerate() {
            if self.args.dry_run {
                match mctl::tree::members_of_tree(root) {
                    Ok(members) => {
                        let members = members.to_change(Some(root));
                        sum.rows.extend(self.plan_each(&members.processes));
                        group.leave_out(members.left_out);
                    }
                    Err(error) => sum.rows.push(Row::failed((root.spec(), error))),
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
                Ok(outcome) => group.take(outcome, sum),
                Err(error) => sum.rows.push(Row::failed((root.spec(), error))),
            }
        }
    }
}

impl Group {
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

    fn take(&mut self, outcome: TreeOutcome, sum: &mut Sum<Changed>) {
        self.leave_out(outcome.left_out);
        sum.ended += outcome.ended;
        self.incomplete |= !outcome.complete && outcome.rollback.is_none();
        self.put_back(outcome.rollback);
        let rows = outcome.members.into_iter().map(|member| Row {
            spec: member.spec,
            name: Some(member.name),
            result: member.result.map(|outcome| Done::Applied(outcome).into()),
        });
        sum.rows.extend(rows);
    }
}
