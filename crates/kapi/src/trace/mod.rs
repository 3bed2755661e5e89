//! Watching a program's calls to specified system calls, changing nothing.
//!
//! The program is started by a launcher that waits until it is watched and then installs a
//! seccomp filter for the specified calls alone, so that all others run at full speed; without
//! CAP_SYS_ADMIN (a filter would need no_new_privs, which a program can notice) every call stops.

mod check;

use std::collections::HashMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use mctl_sys::raw_syscall::{Expendable, MARK};
use mctl_sys::syscall_watch::{Event, Stops, Watch};

pub use check::{Coverage, Problem};

use crate::consts::syscall_number;
use crate::ir::Spec;

/// What a watched program did.
#[derive(Debug, Default)]
pub struct Traced {
    /// The program's exit status; the negative signal if it was killed.
    pub status: i32,
    /// Calls looked at.
    pub calls: u64,
    /// Counts per clause.
    pub coverage: Coverage,
    /// How the calls were seen.
    pub filtered: bool,
}

/// The specified calls that this machine has: number → specifications.
fn numbers(specs: &[Spec]) -> HashMap<u64, Vec<&Spec>> {
    let mut all: HashMap<u64, Vec<&Spec>> = HashMap::new();
    for spec in specs {
        if let Some((_, number)) = crate::verify::syscall_of(spec) {
            all.entry(u64::from(number)).or_default().push(spec);
        }
    }
    all
}

/// Whether a filter can be installed without anybody noticing.
fn may_filter() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Runs a program and reports each call that its specification does not allow.
///
/// # Errors
///
/// When the program cannot be started or watched.
pub fn run(
    specs: &[Spec],
    command: &[String],
    report: &mut dyn FnMut(i32, &Problem),
) -> anyhow::Result<Traced> {
    let numbers = numbers(specs);
    anyhow::ensure!(
        !numbers.is_empty(),
        "none of the specified calls exists on this machine"
    );
    let filtered = may_filter();
    let list: Vec<u64> = if filtered {
        numbers.keys().copied().collect()
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
    let mut watch = Watch::seize(
        main,
        if filtered {
            Stops::Filtered
        } else {
            Stops::EveryCall
        },
    )?;
    let mut traced = Traced {
        filtered,
        ..Traced::default()
    };
    let mut pending: HashMap<i32, (&Spec, [u64; 6])> = HashMap::new();
    while let Some((tid, event)) = watch.next()? {
        match event {
            Event::Entry { number, args } => {
                pending.remove(&tid);
                let candidates = numbers.get(&number).map_or(&[][..], Vec::as_slice);
                if let Some(spec) = candidates.iter().find(|s| check::speaks_of(s, &args)) {
                    pending.insert(tid, (spec, args));
                }
            }
            Event::Exit { value, error } => {
                if let Some((spec, args)) = pending.remove(&tid) {
                    traced.calls += 1;
                    for problem in check::check(spec, &args, value, error, &mut traced.coverage) {
                        report(tid, &problem);
                    }
                }
            }
            Event::Gone(status) => {
                pending.remove(&tid);
                if tid == main {
                    traced.status = status;
                }
            }
        }
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
