//! The throw-away process: does its steps, writes its reports, ends.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use mctl_sys::raw_syscall::{Expendable, MARK};
use rustix::process::{
    Pid, Resource, Signal, WaitOptions, getpid, getppid, getrlimit, kill_process,
    set_parent_process_death_signal, setpgid, waitpid,
};

use super::look::{address_space, look};
use super::privileges::{become_user, drop_capabilities, limit, raise};
use super::script::{Arg, Outcome, Report, Step};
use crate::consts::syscall_number;

/// Bytes of a region: 16 pages of 4 KiB.
pub(super) const REGION: u64 = 64 * 1024;
/// `MAP_SHARED` and `MAP_PRIVATE`.
const SHARED: u64 = 1;
const PRIVATE: u64 = 2;
/// RLIMIT_MEMLOCK.
pub(super) const MEMLOCK: u32 = 8;
/// A page.
pub(super) const PAGE: u64 = 4096;
/// Steps handed over an exec.
pub(super) const STEPS: &str = "KAPI_STEPS";

/// Runs the agent: scripts from standard input, each in a forked child of its own; or, after an
/// exec, the steps in the environment.
///
/// # Errors
///
/// When the process is no throw-away process, or the steps cannot be read.
pub fn run() -> anyhow::Result<()> {
    let me = Expendable::claim()?;
    let mut agent = Agent {
        me,
        regions: BTreeMap::new(),
        buffers: Vec::new(),
        child: None,
        dead: None,
        file: None,
        returned: None,
        own: None,
        address: None,
    };
    if let Ok(text) = std::env::var(STEPS) {
        let steps: Vec<Step> = serde_json::from_str(&text)?;
        return finish(&agent.steps(&steps));
    }
    // Whoever started it waits for it: without that one nobody would.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    let scripts: Vec<Vec<Step>> = serde_json::from_str(&text)?;
    for (n, steps) in scripts.iter().enumerate() {
        report(&Report::Begin(n))?;
        agent.in_a_child(steps)?;
    }
    Ok(())
}

fn finish(done: &anyhow::Result<()>) -> anyhow::Result<()> {
    match done {
        Ok(()) => report(&Report::Done),
        Err(error) => report(&Report::Failed(format!("{error:#}"))),
    }
}

fn report(report: &Report) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    out.flush()?;
    Ok(())
}

struct Agent {
    me: Expendable,
    /// Start addresses by name; each is `REGION` long with a hole behind.
    regions: BTreeMap<String, u64>,
    /// Memory that iovecs and buffers live in.
    buffers: Vec<Vec<u64>>,
    child: Option<(Pid, u64)>,
    dead: Option<(u32, u64)>,
    file: Option<std::fs::File>,
    /// What the call under test returned.
    returned: Option<i64>,
    /// A pidfd of this process.
    own: Option<u64>,
    /// The address in a region that the call speaks of.
    address: Option<u64>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end_children();
    }
}

impl Agent {
    fn steps(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        for step in steps {
            match step {
                Step::DropCapabilities(numbers) => drop_capabilities(numbers)?,
                Step::Limit(resource, bytes) => limit(*resource, *bytes)?,
                // Without the privilege the hard limit stays.
                Step::Raise(resource) => {
                    let _ = raise(*resource);
                }
                Step::LimitToSize => {
                    // The second look needs no memory that the first did not.
                    address_space();
                    let bytes = address_space()
                        .ok_or_else(|| anyhow::anyhow!("/proc/self/statm cannot be read"))?;
                    limit(MEMLOCK, Some(bytes))?;
                }
                Step::Map(name) => {
                    let at = self.map(None)?;
                    self.regions.insert(name.clone(), at);
                }
                Step::MapBroken(name) => {
                    let file = tempfile()?;
                    file.set_len(REGION)?;
                    let at = self.map(Some((&file, SHARED)))?;
                    file.set_len(0)?;
                    self.regions.insert(name.clone(), at);
                }
                Step::MapFile(name) => {
                    let file = tempfile()?;
                    file.set_len(REGION)?;
                    let at = self.map(Some((&file, PRIVATE)))?;
                    self.regions.insert(name.clone(), at);
                }
                Step::Prepare(args) => {
                    for arg in args {
                        let value = self.resolve(arg)?;
                        if matches!(arg, Arg::Mapped(_) | Arg::BeforeHole) {
                            self.address = Some(value);
                        }
                    }
                }
                Step::User(id) => {
                    become_user(*id)?;
                    // Other credentials forget it (PR_SET_PDEATHSIG(2const)).
                    set_parent_process_death_signal(Some(Signal::KILL))?;
                    // So that the process can look at itself.
                    const PR_SET_DUMPABLE: u64 = 4;
                    self.call("prctl", [PR_SET_DUMPABLE, 1, 0, 0, 0, 0])?;
                }
                Step::Call { number, args, name } => self.make(*number, args, name)?,
                Step::Look(name) => report(&Report::Seen(
                    name.clone(),
                    look(&self.me, &self.regions, self.address)?,
                ))?,
                Step::Fork(steps) => self.fork(steps)?,
                Step::Exec(steps) => {
                    let error = Command::new("/proc/self/exe")
                        .arg("__agent")
                        .env(STEPS, serde_json::to_string(steps)?)
                        .env(MARK, std::os::unix::process::parent_id().to_string())
                        .exec();
                    anyhow::bail!("exec: {error}");
                }
            }
        }
        Ok(())
    }

    /// Makes the call and reports it.
    fn make(&mut self, number: u32, args: &[Arg], name: &str) -> anyhow::Result<()> {
        let args = args
            .iter()
            .map(|arg| self.resolve(arg))
            .collect::<anyhow::Result<Vec<u64>>>()?;
        let mut six = [0; 6];
        for (slot, arg) in six.iter_mut().zip(&args) {
            *slot = *arg;
        }
        if let Some(why) = self.me.refuses(number, &six) {
            anyhow::bail!("the call was not made: {why}");
        }
        let memlock = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
        let total_vm = address_space();
        let (value, errno) = match self.me.syscall6(number, six) {
            Ok(value) => (Some(value), None),
            Err(errno) => (None, Some(errno)),
        };
        if name == "call" {
            self.returned = value;
        }
        report(&Report::Called(
            name.to_owned(),
            Outcome {
                args,
                total_vm,
                memlock,
                value,
                errno,
            },
        ))
    }

    /// Does the steps in a child that is gone with its parent, in a process group of its own and
    /// with all signals blocked, so that what the call sends stays pending or hits nobody else.
    fn in_a_child(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        const SIGCHLD: u64 = 17;
        const BLOCK: u64 = 0;
        let pid = self.call("clone", [SIGCHLD, 0, 0, 0, 0, 0])?;
        if pid != 0 {
            let pid = Pid::from_raw(i32::try_from(pid)?);
            let status = waitpid(pid, WaitOptions::empty())?;
            let signal = status.and_then(|(_, status)| status.terminating_signal());
            if let Some(signal) = signal {
                report(&Report::Failed(format!(
                    "the process was ended by signal {signal}"
                )))?;
            }
            return Ok(());
        }
        let prepared = || -> anyhow::Result<()> {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            setpgid(None, None)?;
            let all = [u64::MAX];
            let at = all.as_ptr().addr() as u64;
            self.call("rt_sigprocmask", [BLOCK, at, 0, 8, 0, 0])?;
            Ok(())
        };
        let done = prepared().and_then(|()| self.steps(steps));
        let told = finish(&done);
        // What the steps started ends with its parent's descriptors.
        self.end_children();
        std::process::exit(i32::from(told.is_err()));
    }

    fn end_children(&mut self) {
        if let Some((child, _)) = self.child.take() {
            let _ = kill_process(child, Signal::KILL);
            let _ = waitpid(Some(child), WaitOptions::empty());
        }
    }

    fn call(&self, name: &str, args: [u64; 6]) -> anyhow::Result<u64> {
        let number = syscall_number(name)
            .ok_or_else(|| anyhow::anyhow!("no number for {name} on this machine"))?;
        match self.me.syscall6(number, args) {
            Ok(value) => Ok(value.cast_unsigned()),
            Err(errno) => anyhow::bail!("{name}: {}", std::io::Error::from_raw_os_error(errno)),
        }
    }

    /// A region with a hole of the same size behind it.
    fn map(&self, file: Option<(&std::fs::File, u64)>) -> anyhow::Result<u64> {
        const READ_WRITE: u64 = 3;
        const PRIVATE_ANONYMOUS: u64 = 0x22;
        const FIXED: u64 = 0x10;
        let at = self.call(
            "mmap",
            [0, 2 * REGION, READ_WRITE, PRIVATE_ANONYMOUS, u64::MAX, 0],
        )?;
        if let Some((file, how)) = file {
            let fd = u64::try_from(file.as_raw_fd())?;
            self.call("mmap", [at, REGION, READ_WRITE, how | FIXED, fd, 0])?;
        }
        self.call("munmap", [at + REGION, REGION, 0, 0, 0, 0])?;
        Ok(at)
    }

    fn region(&self) -> anyhow::Result<u64> {
        self.regions
            .get("before")
            .or_else(|| self.regions.values().next())
            .copied()
            .ok_or_else(|| anyhow::anyhow!("no region was mapped"))
    }

    fn resolve(&mut self, arg: &Arg) -> anyhow::Result<u64> {
        let number =
            |n: i128| u64::try_from(n).or_else(|_| i64::try_from(n).map(i64::cast_unsigned));
        Ok(match arg {
            Arg::Number(n) => number(*n)?,
            Arg::Mapped(offset) => self.region()?.wrapping_add_signed(*offset),
            Arg::Length(more) => REGION.wrapping_add_signed(*more),
            Arg::Unmapped => self.region()? + REGION,
            Arg::BeforeHole => self.region()? + REGION - PAGE,
            Arg::Buffer => self.memory(vec![0; 4096]),
            Arg::BadPointer => u64::MAX - PAGE + 1,
            Arg::File => self.file()?,
            Arg::Closed => u64::MAX >> 33,
            Arg::PidfdSelf => match self.own {
                Some(fd) => fd,
                None => {
                    let me = u64::from(std::process::id());
                    let fd = self.call("pidfd_open", [me, 0, 0, 0, 0, 0])?;
                    *self.own.insert(fd)
                }
            },
            Arg::PidfdChild => self.child()?.1,
            Arg::PidfdDead => self.dead()?.1,
            Arg::PidSelf => u64::from(std::process::id()),
            Arg::PidChild => u64::from(self.child()?.0),
            Arg::PidDead => u64::from(self.dead()?.0),
            // As many as may be given at once, and one more.
            Arg::Iovec => {
                let at = self.region()?;
                self.memory([at, REGION].repeat(1025))
            }
            Arg::Returned => self
                .returned
                .ok_or_else(|| anyhow::anyhow!("the call returned nothing"))?
                .cast_unsigned(),
            Arg::IovecUnmapped => {
                let at = self.region()? + REGION;
                self.memory(vec![at, REGION])
            }
        })
    }

    /// Keeps words alive and answers their address.
    fn memory(&mut self, words: Vec<u64>) -> u64 {
        let address = words.as_ptr().addr() as u64;
        self.buffers.push(words);
        address
    }

    fn file(&mut self) -> anyhow::Result<u64> {
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile()?,
        };
        let fd = file.as_raw_fd();
        self.file = Some(file);
        Ok(u64::try_from(fd)?)
    }

    /// A forked child, with the memory and the privileges of this process, and a pidfd of it. It
    /// waits until it is killed, or until this process is gone.
    fn spawn(&mut self) -> anyhow::Result<(Pid, u64)> {
        const SIGCHLD: u64 = 17;
        let parent = getpid();
        let pid = self.call("clone", [SIGCHLD, 0, 0, 0, 0, 0])?;
        let Some(pid) = Pid::from_raw(i32::try_from(pid)?) else {
            let bound = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
            // A parent that was gone before sends nothing.
            if bound && getppid() == Some(parent) {
                loop {
                    std::thread::sleep(std::time::Duration::from_secs(3600));
                }
            }
            std::process::exit(1);
        };
        let raw = pid.as_raw_nonzero().get().unsigned_abs();
        let fd = self.call("pidfd_open", [u64::from(raw), 0, 0, 0, 0, 0])?;
        Ok((pid, fd))
    }

    /// `(pid, pidfd)` of a child that waits.
    fn child(&mut self) -> anyhow::Result<(u32, u64)> {
        let (pid, fd) = match self.child {
            Some(child) => child,
            None => {
                let child = self.spawn()?;
                *self.child.insert(child)
            }
        };
        Ok((pid.as_raw_nonzero().get().unsigned_abs(), fd))
    }

    /// `(pid, pidfd)` of a child that was waited for.
    fn dead(&mut self) -> anyhow::Result<(u32, u64)> {
        if let Some(dead) = self.dead {
            return Ok(dead);
        }
        let (pid, fd) = self.spawn()?;
        kill_process(pid, Signal::KILL)?;
        waitpid(Some(pid), WaitOptions::empty())?;
        let dead = (pid.as_raw_nonzero().get().unsigned_abs(), fd);
        self.dead = Some(dead);
        Ok(dead)
    }

    fn fork(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        const SIGCHLD: u64 = 17;
        let pid = self.call("clone", [SIGCHLD, 0, 0, 0, 0, 0])?;
        if pid == 0 {
            // The parent's children are not this process's.
            self.child = None;
            let done = self.steps(steps);
            if let Err(error) = done {
                let _ = report(&Report::Failed(format!("in the child: {error:#}")));
            }
            std::process::exit(0);
        }
        self.call("wait4", [pid, 0, 0, 0, 0, 0])?;
        Ok(())
    }
}

fn tempfile() -> anyhow::Result<std::fs::File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(std::fs::File::from(memfd_create(
        "kapi",
        MemfdFlags::CLOEXEC,
    )?))
}
