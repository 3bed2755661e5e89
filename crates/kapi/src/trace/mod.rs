//! Watching programs' calls to specified system calls, changing nothing.
//!
//! A program that is started here is started by a launcher that waits until it is watched and then
//! installs a seccomp filter for the specified calls alone, so that all others run at full speed.
//! Without CAP_SYS_ADMIN (a filter would need no_new_privs, which a program can notice), and in a
//! process that runs already (a filter cannot be installed from outside), every call stops twice.

pub mod keeper;
mod roster;
mod rules;
mod target;

use std::collections::HashMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use mctl_sys::raw_syscall::{Expendable, MARK};
use mctl_sys::syscall_watch::{Event, Stops, Watch};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

pub use roster::Roster;
use rules::Rules;
pub use rules::{Coverage, Problem};
pub use target::Target;

use crate::consts::syscall_number;
use crate::ir::Spec;

/// What a watched program did.
#[derive(Debug, Default)]
pub struct Traced {
    /// How the program ended: its exit status, or the signal as a negative number. `None` where
    /// it runs on.
    pub status: Option<i32>,
    /// Calls looked at.
    pub calls: u64,
    /// Calls that were interrupted and entered again, or ended with an error that is not seen.
    pub interrupted: u64,
    /// Counts per clause.
    pub coverage: Coverage,
    /// How the calls were seen.
    pub filtered: bool,
    /// Threads that could not be stopped to be let go; they are when this process ends.
    pub held: usize,
}

/// The specified calls that this machine has: number → rules of each specification.
type Specified<'s> = HashMap<u64, Vec<Rules<'s>>>;

/// A call that was entered: its arguments, and the place of its rules in [`Specified`].
struct Pending {
    number: u64,
    at: usize,
    args: [u64; 6],
}

fn specified(specs: &[Spec]) -> anyhow::Result<Specified<'_>> {
    let mut all = Specified::new();
    for spec in specs {
        if let Some((_, number)) = crate::verify::syscall_of(spec) {
            let rules = all.entry(u64::from(number)).or_default();
            rules.push(Rules::new(spec));
        }
    }
    anyhow::ensure!(
        !all.is_empty(),
        "none of the specified calls exists on this machine"
    );
    Ok(all)
}

/// Whether a filter can be installed without anybody noticing.
fn may_filter() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Runs a program and reports each call that its specification does not allow. SIGINT to this
/// process is left to the program (a terminal sends it to both). SIGTERM and SIGHUP are handed on to
/// it; where it runs without a filter, they let it go on alone.
///
/// The specified calls of a program with a filter fail with `ENOSYS` while it has no tracer. So this
/// belongs into a process of its own (see [`keeper`]): `roster` says there who has to be taken over
/// when that one is killed.
///
/// # Errors
///
/// When the program cannot be started or watched.
pub fn run(
    specs: &[Spec],
    command: &[String],
    roster: Option<&mut Roster>,
    report: &mut dyn FnMut(i32, &Problem),
) -> anyhow::Result<Traced> {
    let mut specified = specified(specs)?;
    let filtered = may_filter();
    let list: Vec<u64> = if filtered {
        specified.keys().copied().collect()
    } else {
        Vec::new()
    };
    let child = Command::new("/proc/self/exe")
        .arg("__launch")
        .arg(serde_json::to_string(&list)?)
        .arg("--")
        .args(command)
        .env(MARK, std::process::id().to_string())
        .spawn()?;
    let main = i32::try_from(child.id())?;
    // The program stays in the session and the group of the terminal; its watcher leaves them.
    keeper::leave_session();
    let stops = if filtered {
        Stops::Filtered
    } else {
        Stops::EveryCall
    };
    let mut watch = Watch::seize(main, stops)?;
    watch.take_signals()?;
    let mut roster = roster.filter(|_| filtered);
    if let Some(roster) = &mut roster {
        roster.begin(main)?;
    }
    let whose = Whose::Started { filtered };
    let mut traced = follow(&mut specified, watch, main, whose, roster, report)?;
    traced.filtered = filtered;
    Ok(traced)
}

/// Goes on watching a program whose watcher was killed: everything in its roster that runs, and what
/// these started meanwhile. `None` where there is nothing to take over.
///
/// # Errors
///
/// When the kernel refuses.
pub fn take_over(
    specs: &[Spec],
    roster: &Roster,
    report: &mut dyn FnMut(i32, &Problem),
) -> anyhow::Result<Option<Traced>> {
    let Some((main, threads)) = roster.read()? else {
        return Ok(None);
    };
    // Every call that comes before this fails with ENOSYS, so it comes first.
    let mut watch = Watch::adopt(&threads)?;
    watch.take_signals()?;
    let mut specified = specified(specs)?;
    let whose = Whose::Started { filtered: true };
    let mut traced = follow(&mut specified, watch, main, whose, None, report)?;
    traced.filtered = true;
    Ok(Some(traced))
}

/// Watches a process that runs already: every thread, and what these make from now on. `begin` is
/// told the number of threads. SIGINT, SIGTERM and SIGHUP to this process let it go on alone.
///
/// This belongs into a process of its own (see [`keeper`]).
///
/// # Errors
///
/// When a process is gone, must not be touched, or cannot be watched; none is changed then.
pub fn attach(
    specs: &[Spec],
    target: &Target,
    begin: &mut dyn FnMut(usize),
    report: &mut dyn FnMut(i32, &Problem),
) -> anyhow::Result<Traced> {
    let mut specified = specified(specs)?;
    // Attached to, it would stand until somebody continues it, and nobody would know whom to ask.
    anyhow::ensure!(
        !target.is_stopped(),
        "cannot watch process {}: it is stopped by a signal; SIGCONT lets it go on",
        target.pid()
    );
    let watch = Watch::attach(target.pid(), target.pidfd())
        .map_err(|error| anyhow::anyhow!("cannot watch process {}: {error}", target.pid()))?;
    begin(watch.threads());
    let whose = Whose::Strangers;
    follow(&mut specified, watch, target.pid(), whose, None, report)
}

/// Whose program is watched.
#[derive(Clone, Copy)]
enum Whose {
    /// One that was started for it.
    Started { filtered: bool },
    /// One that ran before.
    Strangers,
}

/// Hands a signal on to our own child, which is not reaped while it is watched.
fn forward(child: i32, signal: i32) {
    if let (Some(pid), Some(signal)) = (Pid::from_raw(child), Signal::from_named_raw(signal)) {
        let _ = kill_process(pid, signal);
    }
}

/// Keeps the watching thread on the processor of what it watches. The two take turns; on two
/// processors each turn waits for an interrupt and for whoever runs there (measured: twice the time a
/// call on a busy machine).
#[derive(Default)]
struct Near {
    events: u32,
    at: Option<usize>,
}

impl Near {
    fn follow(&mut self, tid: i32) {
        const EVERY: u32 = 512;
        self.events = self.events.wrapping_add(1);
        if self.events % EVERY != 1 {
            return;
        }
        let text = std::fs::read(format!("/proc/{tid}/stat")).unwrap_or_default();
        let stat = mctl_sys::procfs::stat::Stat::parse(&text).ok();
        let there = stat.and_then(|stat| usize::try_from(stat.processor?).ok());
        if let Some(cpu) = there.filter(|cpu| self.at != Some(*cpu) && *cpu < CpuSet::MAX_CPU) {
            let mut set = CpuSet::new();
            set.set(cpu);
            // Refused where this process may not run there.
            if sched_setaffinity(None, &set).is_ok() {
                self.at = Some(cpu);
            }
        }
    }
}

/// Looks at every call until all tracees are gone or this process is asked to end.
fn follow(
    specified: &mut Specified<'_>,
    mut watch: Watch,
    main: i32,
    whose: Whose,
    mut roster: Option<&mut Roster>,
    report: &mut dyn FnMut(i32, &Problem),
) -> anyhow::Result<Traced> {
    const SIGINT: i32 = 2;
    let mut traced = Traced::default();
    let mut pending: HashMap<i32, Pending> = HashMap::new();
    let mut near = Near::default();
    while let Some((tid, event)) = watch.next()? {
        near.follow(tid);
        match event {
            Event::Entry { number, args } => {
                let rules = specified.get(&number).map_or(&[][..], Vec::as_slice);
                match rules.iter().position(|rules| rules.speaks_of(&args)) {
                    Some(at) => drop(pending.insert(tid, Pending { number, at, args })),
                    None => drop(pending.remove(&tid)),
                }
            }
            Event::Exit { value, error } => {
                if let Some(call) = pending.remove(&tid)
                    && let Some(rules) = specified.get_mut(&call.number)
                    && let Some(rules) = rules.get_mut(call.at)
                {
                    traced.calls += 1;
                    for problem in rules.check(&call.args, value, error) {
                        report(tid, &problem);
                    }
                }
            }
            Event::Interrupted => {
                if pending.remove(&tid).is_some() {
                    traced.interrupted += 1;
                }
            }
            Event::Made(child) => {
                if let Some(roster) = &mut roster {
                    roster.add(child, &watch)?;
                }
            }
            Event::Gone(status) => {
                pending.remove(&tid);
                if tid == main {
                    traced.status = Some(status);
                }
            }
            Event::Asked(signal) => match whose {
                // The terminal's Ctrl-C went to the program, too.
                Whose::Started { .. } if signal == SIGINT => {}
                // Its filter needs a tracer: without one the specified calls fail with ENOSYS.
                Whose::Started { filtered: true } => forward(main, signal),
                _ => {
                    traced.held = watch.release()?;
                    break;
                }
            },
        }
    }
    for rules in specified.values().flatten() {
        rules.add_to(&mut traced.coverage);
    }
    Ok(traced)
}

/// The launcher: waits until it is watched, filters, becomes the program.
///
/// # Errors
///
/// When it is not watched in time, the filter is refused, or the program cannot be run.
pub fn launch(numbers: &str, command: &[String]) -> anyhow::Result<()> {
    let me = Expendable::claim()?;
    let numbers: Vec<u64> = serde_json::from_str(numbers)?;
    let Some((program, args)) = command.split_first() else {
        anyhow::bail!("no program")
    };
    let watched = || -> anyhow::Result<bool> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        Ok(status.lines().any(|l| {
            l.strip_prefix("TracerPid:")
                .is_some_and(|t| t.trim() != "0")
        }))
    };
    for _ in 0..10_000 {
        if watched()? {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    anyhow::ensure!(watched()?, "nobody watches");
    if !numbers.is_empty() {
        filter(&me, &numbers)?;
    }
    let error = Command::new(program).args(args).env_remove(MARK).exec();
    anyhow::bail!("cannot run {program}: {error}");
}

/// SECCOMP_RET_TRACE for the given calls of this architecture, everything else allowed.
fn filter(me: &Expendable, numbers: &[u64]) -> anyhow::Result<()> {
    const LOAD: u64 = 0x20;
    const JUMP_EQUAL: u64 = 0x15;
    const RETURN: u64 = 0x06;
    const ALLOW: u64 = 0x7fff_0000;
    const TRACE: u64 = 0x7ff0_0000;
    const SET_MODE_FILTER: u64 = 1;
    let arch: u64 = match std::env::consts::ARCH {
        "x86_64" => 0xc000_003e,
        "aarch64" => 0xc000_00b7,
        "riscv64" => 0xc000_00f3,
        other => anyhow::bail!("no filter for {other}"),
    };
    // One instruction is code, two jump distances and a constant, in 64 bits.
    let op = |code: u64, yes: u64, no: u64, k: u64| code | yes << 16 | no << 24 | k << 32;
    let mut program = vec![
        op(LOAD, 0, 0, 4),
        op(JUMP_EQUAL, 1, 0, arch),
        op(RETURN, 0, 0, ALLOW),
        op(LOAD, 0, 0, 0),
    ];
    for number in numbers {
        program.push(op(JUMP_EQUAL, 0, 1, *number));
        program.push(op(RETURN, 0, 0, TRACE));
    }
    program.push(op(RETURN, 0, 0, ALLOW));
    let head = [
        u64::try_from(program.len())?,
        program.as_ptr().expose_provenance() as u64,
    ];
    let number =
        syscall_number("seccomp").ok_or_else(|| anyhow::anyhow!("no number for seccomp"))?;
    let at = head.as_ptr().expose_provenance() as u64;
    me.syscall6(number, [SET_MODE_FILTER, 0, at, 0, 0, 0])
        .map_err(|errno| {
            anyhow::anyhow!("seccomp: {}", std::io::Error::from_raw_os_error(errno))
        })?;
    Ok(())
}
