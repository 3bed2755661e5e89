//! The throw-away process: does its steps, writes its reports, ends.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use mctl_sys::raw_syscall::{Expendable, MARK};
use rustix::process::{Resource, getrlimit};

use super::privileges::{become_user, drop_capabilities, limit};
use super::script::{Arg, DESCRIPTORS, Outcome, Region, Report, Step, View};
use crate::consts::syscall_number;

/// Bytes of a region: 16 pages of 4 KiB.
const REGION: u64 = 64 * 1024;
/// `MAP_SHARED` and `MAP_PRIVATE`.
const SHARED: u64 = 1;
const PRIVATE: u64 = 2;
/// A page.
const PAGE: u64 = 4096;
/// Steps handed over an exec.
pub(super) const STEPS: &str = "KAPI_STEPS";

/// Runs the agent: steps from standard input (or, after an exec, from the environment).
///
/// # Errors
///
/// When the process is no throw-away process, or the steps cannot be read.
pub fn run() -> anyhow::Result<()> {
    let me = Expendable::claim()?;
    let text = match std::env::var(STEPS) {
        Ok(text) => text,
        Err(_) => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text)?;
            text
        }
    };
    let steps: Vec<Step> = serde_json::from_str(&text)?;
    let mut agent = Agent {
        me,
        regions: BTreeMap::new(),
        buffers: Vec::new(),
        child: None,
        dead: None,
        file: None,
    };
    match agent.steps(&steps) {
        Ok(()) => report(&Report::Done)?,
        Err(error) => report(&Report::Failed(format!("{error:#}")))?,
    }
    Ok(())
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
    child: Option<(Child, u64)>,
    dead: Option<(u32, u64)>,
    file: Option<std::fs::File>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Agent {
    fn steps(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        for step in steps {
            match step {
                Step::DropCapabilities(numbers) => drop_capabilities(numbers)?,
                Step::Limit(resource, bytes) => limit(*resource, *bytes)?,
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
                        self.resolve(arg)?;
                    }
                }
                Step::User(id) => become_user(*id)?,
                Step::Call { number, args, name } => {
                    let args = args
                        .iter()
                        .map(|arg| self.resolve(arg))
                        .collect::<anyhow::Result<Vec<u64>>>()?;
                    let mut six = [0; 6];
                    for (slot, arg) in six.iter_mut().zip(&args) {
                        *slot = *arg;
                    }
                    if let Some(why) = self.me.refuses(*number, &six) {
                        anyhow::bail!("the call was not made: {why}");
                    }
                    let (value, errno) = match self.me.syscall6(*number, six) {
                        Ok(value) => (Some(value), None),
                        Err(errno) => (None, Some(errno)),
                    };
                    report(&Report::Called(
                        name.clone(),
                        Outcome { args, value, errno },
                    ))?;
                }
                Step::Look(name) => report(&Report::Seen(name.clone(), self.look()?))?,
                Step::Fork(steps) => self.fork(steps)?,
                Step::Exec(steps) => {
                    let error = Command::new("/proc/self/exe")
                        .arg("__agent")
                        .env(STEPS, serde_json::to_string(steps)?)
                        .exec();
                    anyhow::bail!("exec: {error}");
                }
            }
        }
        Ok(())
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
            Arg::PidfdSelf => {
                self.call("pidfd_open", [u64::from(std::process::id()), 0, 0, 0, 0, 0])?
            }
            Arg::PidfdChild => self.child()?.1,
            Arg::PidfdDead => self.dead()?.1,
            Arg::PidSelf => u64::from(std::process::id()),
            Arg::PidChild => u64::from(self.child()?.0),
            Arg::PidDead => u64::from(self.dead()?.0),
            Arg::Iovec => {
                let at = self.region()?;
                self.memory(vec![at, REGION])
            }
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

    /// `(pid, pidfd)` of a child that waits.
    fn child(&mut self) -> anyhow::Result<(u32, u64)> {
        if self.child.is_none() {
            let child = spawn()?;
            let fd = self.call("pidfd_open", [u64::from(child.id()), 0, 0, 0, 0, 0])?;
            self.child = Some((child, fd));
        }
        match &self.child {
            Some((child, fd)) => Ok((child.id(), *fd)),
            None => anyhow::bail!("no child"),
        }
    }

    /// `(pid, pidfd)` of a child that was waited for.
    fn dead(&mut self) -> anyhow::Result<(u32, u64)> {
        if let Some(dead) = self.dead {
            return Ok(dead);
        }
        let mut child = spawn()?;
        let fd = self.call("pidfd_open", [u64::from(child.id()), 0, 0, 0, 0, 0])?;
        child.kill()?;
        child.wait()?;
        let dead = (child.id(), fd);
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

    fn look(&self) -> anyhow::Result<View> {
        let mut view = View::default();
        for line in std::fs::read_to_string("/proc/self/status")?.lines() {
            let Some((key, text)) = line.split_once(':') else {
                continue;
            };
            let mut words = text.split_whitespace();
            if key == "CapEff" {
                view.capabilities = u64::from_str_radix(text.trim(), 16)?;
            } else if let (Some(Ok(number)), unit) = (words.next().map(str::parse), words.next())
                && unit.is_none_or(|u| u == "kB")
            {
                view.status.insert(key.to_owned(), number);
            }
        }
        // The one that lists them is there both times.
        let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
        view.status
            .insert(DESCRIPTORS.to_owned(), u64::try_from(descriptors)?);
        const MEMLOCK: u32 = 8;
        view.limits.insert(
            MEMLOCK,
            getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX),
        );
        let smaps = std::fs::read_to_string("/proc/self/smaps")?;
        for (name, at) in &self.regions {
            view.regions.insert(name.clone(), region(&smaps, *at));
        }
        Ok(view)
    }
}

/// The parts of smaps between `at` and the end of the region, added up.
fn region(smaps: &str, at: u64) -> Region {
    let mut found = Region {
        start: at,
        ..Region::default()
    };
    let mut inside = false;
    for line in smaps.lines() {
        let head = line.split_whitespace().next().unwrap_or_default();
        let range = head.split_once('-').and_then(|(a, b)| {
            Some((
                u64::from_str_radix(a, 16).ok()?,
                u64::from_str_radix(b, 16).ok()?,
            ))
        });
        if let Some((start, end)) = range {
            // A neighbour may have been merged with the region.
            inside = start < at + REGION && end > at;
            continue;
        }
        if !inside {
            continue;
        }
        let kb = || {
            line.split_whitespace()
                .nth(1)
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0)
        };
        match head {
            "Size:" => found.size_kb += kb(),
            "Rss:" => found.rss_kb += kb(),
            "VmFlags:" => {
                for flag in line.split_whitespace().skip(1) {
                    if !found.flags.iter().any(|f| f == flag) {
                        found.flags.push(flag.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// A child that waits until it is killed, or until this process is gone.
fn spawn() -> anyhow::Result<Child> {
    // It reads its standard input, which ends when its parent does.
    Ok(Command::new("/proc/self/exe")
        .arg("__agent")
        .env_remove(STEPS)
        .env(MARK, std::process::id().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?)
}

fn tempfile() -> anyhow::Result<std::fs::File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(std::fs::File::from(memfd_create(
        "kapi",
        MemfdFlags::CLOEXEC,
    )?))
}
