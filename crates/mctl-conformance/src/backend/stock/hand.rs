//! The agent: starting it, and telling its tasks what to do.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mctl_sys::program::{copy_program, write_program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use crate::backend::Trouble;

/// The agent: built with this program, empty where that was not possible.
const AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent"));
/// How long a step may take before the harness gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// One order: eight words.
pub(super) type Order = [u64; 8];

/// What the agent can be told.
pub(super) mod order {
    use super::Order;

    /// A system call by number.
    pub(in super::super) fn syscall(nr: u64, args: [u64; 6]) -> Order {
        let [a, b, c, d, e, f] = args;
        [0, nr, a, b, c, d, e, f]
    }

    /// A touch of every page.
    pub(in super::super) fn touch(start: u64, len: u64, write: bool) -> Order {
        [1, start, len, u64::from(write), 0, 0, 0, 0]
    }

    /// A new task: 0 fork, 1 vfork, 2 CLONE_VM, 3 thread; under this name. A fork gets this number, if not 0.
    pub(in super::super) fn make(kind: u64, name: u64, number: u32) -> Order {
        [2, kind, name, u64::from(number), 0, 0, 0, 0]
    }

    /// execve(2) of a path in the agent's memory.
    pub(in super::super) fn exec(path: u64) -> Order {
        [3, path, 0, 0, 0, 0, 0, 0]
    }

    /// So many mappings of a page each, side by side.
    pub(in super::super) fn fill(start: u64, count: u64) -> Order {
        [5, start, count, 0, 0, 0, 0, 0]
    }

    /// Puts a word into the scratch memory.
    pub(in super::super) fn poke(index: u64, value: u64) -> Order {
        [4, index, value, 0, 0, 0, 0, 0]
    }
}

/// A connection to one task of the agent.
#[derive(Debug)]
pub(super) struct Hand {
    stream: UnixStream,
    /// Its process.
    pub(super) pid: u32,
    /// Itself.
    pub(super) tid: u32,
    /// Where its scratch memory is.
    pub(super) scratch: u64,
    /// Results that will come and that nobody waits for (of a vfork(2)).
    owed: usize,
    out: Vec<u8>,
}

impl Hand {
    /// Sends orders without waiting for what they come to.
    pub(super) fn send(&mut self, orders: &[Order]) -> Result<(), Trouble> {
        self.out.clear();
        for word in orders.iter().flatten() {
            self.out.extend_from_slice(&word.to_ne_bytes());
        }
        self.stream.write_all(&self.out).map_err(Trouble::broken)
    }

    /// The next result.
    pub(super) fn receive(&mut self) -> Result<i64, Trouble> {
        while self.owed > 0 {
            self.owed -= 1;
            self.word()?;
        }
        Ok(i64::from_ne_bytes(self.word()?))
    }

    fn word(&mut self) -> Result<[u8; 8], Trouble> {
        let mut bytes = [0; 8];
        self.stream
            .read_exact(&mut bytes)
            .map_err(Trouble::broken)?;
        Ok(bytes)
    }

    /// Carries orders out, a batch at a time; the last one's result.
    pub(super) fn all(&mut self, orders: &[Order]) -> Result<i64, Trouble> {
        let mut last = 0;
        for batch in orders.chunks(32) {
            self.send(batch)?;
            for _ in batch {
                last = self.receive()?;
            }
        }
        Ok(last)
    }

    /// Carries orders out up to the first that fails; its result, or the last one's.
    pub(super) fn each(&mut self, orders: &[Order]) -> Result<i64, Trouble> {
        let mut last = 0;
        for order in orders {
            last = self.all(std::slice::from_ref(order))?;
            if (-4095..0).contains(&last) {
                break;
            }
        }
        Ok(last)
    }

    /// execve(2) of a path in the agent's memory. The new image says where
    /// its scratch memory is: a set-id program gets its addresses at random.
    pub(super) fn exec(&mut self, path: u64) -> Result<i64, Trouble> {
        let done = self.all(&[order::exec(path)])?;
        if done == 0 {
            self.scratch = u64::from_ne_bytes(self.receive()?.to_ne_bytes());
        }
        Ok(done)
    }

    /// One system call.
    pub(super) fn syscall(&mut self, nr: u64, args: [u64; 6]) -> Result<i64, Trouble> {
        self.all(&[order::syscall(nr, args)])
    }

    /// A result will come that nobody waits for.
    pub(super) fn owes(&mut self) {
        self.owed += 1;
    }
}

/// The agent's first process and the door that tasks come in by.
#[derive(Debug)]
pub(super) struct Agent {
    dir: TempDir,
    path: PathBuf,
    listener: UnixListener,
    child: Child,
    /// The first process. It makes the scenarios' processes and waits for them.
    pub(super) zygote: Hand,
}

impl Agent {
    /// Starts the agent.
    pub(super) fn start() -> Result<Agent, Trouble> {
        let dir = tempfile::Builder::new()
            .prefix("mctl-conformance-")
            .tempdir()
            .map_err(Trouble::broken)?;
        // Processes of other users come in by the door and exec the agent.
        mode(dir.path(), 0o755)?;
        let path = unpack(dir.path())?;
        let door = dir.path().join("door");
        let listener = UnixListener::bind(&door).map_err(Trouble::broken)?;
        mode(&door, 0o777)?;
        let child = Command::new(&path)
            .arg("start")
            .arg(&door)
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .map_err(Trouble::broken)?;
        let (_, zygote) = accept(&listener)?;
        Ok(Agent {
            dir,
            path,
            listener,
            child,
            zygote,
        })
    }

    /// The next task that comes in; it must have this name.
    pub(super) fn welcome(&self, name: u64) -> Result<Hand, Trouble> {
        let (who, hand) = accept(&self.listener)?;
        if who == name {
            Ok(hand)
        } else {
            Err(Trouble::broken("another task came in than was made"))
        }
    }

    /// The agent's program.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A directory for files, which goes with the agent.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A copy of the agent with the set-user-id bit, owned by `uid`.
    pub(super) fn set_uid_copy(&self, uid: u32) -> Result<PathBuf, Trouble> {
        let path = self.dir.path().join(format!("set-uid-{uid}"));
        if !path.exists() {
            copy_program(&self.path, &path, 0o755).map_err(Trouble::broken)?;
            std::os::unix::fs::chown(&path, Some(uid), Some(uid)).map_err(Trouble::broken)?;
            mode(&path, 0o4755)?;
        }
        Ok(path)
    }

    /// A script that the agent interprets, with the set-user-id bit where one is asked for.
    pub(super) fn script(&self, uid: Option<u32>) -> Result<PathBuf, Trouble> {
        let name = uid.map_or_else(|| "script".to_owned(), |uid| format!("script-{uid}"));
        let path = self.dir.path().join(name);
        if !path.exists() {
            let text = format!("#!{}\n", self.path.display());
            write_program(&path, text.as_bytes(), 0o755).map_err(Trouble::broken)?;
            if let Some(uid) = uid {
                std::os::unix::fs::chown(&path, Some(uid), Some(uid)).map_err(Trouble::broken)?;
            }
            mode(&path, if uid.is_some() { 0o4755 } else { 0o755 })?;
        }
        Ok(path)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Its tasks see their connections close and end; this ends the first one.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(super) fn mode(path: &Path, bits: u32) -> Result<(), Trouble> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).map_err(Trouble::broken)
}

fn unpack(dir: &Path) -> Result<PathBuf, Trouble> {
    if AGENT.is_empty() {
        let why = "this program was built without the agent: no C compiler was there, or it is not \
                   for Linux on x86-64";
        return Err(Trouble::NotPossible(why.to_owned()));
    }
    let path = dir.join("agent");
    write_program(&path, AGENT, 0o755).map_err(Trouble::broken)?;
    Ok(path)
}

fn accept(listener: &UnixListener) -> Result<(u64, Hand), Trouble> {
    let mut fds = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
    let limit = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let ready = poll(&mut fds, Some(&limit)).map_err(Trouble::broken)?;
    if ready == 0 {
        return Err(Trouble::broken("no task came in"));
    }
    let (mut stream, _) = listener.accept().map_err(Trouble::broken)?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(Trouble::broken)?;
    let mut words = [0_u64; 4];
    for word in &mut words {
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes).map_err(Trouble::broken)?;
        *word = u64::from_ne_bytes(bytes);
    }
    let [name, pid, tid, scratch] = words;
    let number = |word: u64| u32::try_from(word).map_err(Trouble::broken);
    Ok((
        name,
        Hand {
            stream,
            pid: number(pid)?,
            tid: number(tid)?,
            scratch,
            owed: 0,
            out: Vec::new(),
        },
    ))
}
