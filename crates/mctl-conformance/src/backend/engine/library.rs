//! The `mctl` crate, run by a deputy: a process of our own with the caller's credentials. What the
//! caller would do to itself is done by the caller.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use mctl_abi::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::wire::{Identity, Named, Order, Say, Words, receive, send};
use super::{Caller, Done, Engine, EngineAdvice, EngineCall, EngineTarget, OwnProcess};
use crate::backend::Trouble;

pub use deputy::serve as deputy;

mod deputy;

/// The argument by which a program of ours becomes a deputy.
pub const DEPUTY: &str = "--mctl-conformance-deputy";

/// The library on this kernel.
#[derive(Debug)]
pub struct Library {
    program: PathBuf,
    arguments: Vec<OsString>,
    deputies: HashMap<String, Deputy>,
    best_effort: bool,
}

#[derive(Debug)]
struct Deputy {
    child: Child,
    socket: OwnedFd,
    buffer: Vec<u8>,
    passing: bool,
}

impl Drop for Deputy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Library {
    /// With deputies that are this program, started with [`DEPUTY`]: it calls [`deputy()`] then.
    #[must_use]
    pub fn by(program: PathBuf) -> Library {
        Library {
            program,
            arguments: vec![DEPUTY.into()],
            deputies: HashMap::new(),
            best_effort: false,
        }
    }

    /// With deputies that are the running program itself.
    ///
    /// # Errors
    /// The program's own path cannot be told.
    pub fn by_ourselves() -> Result<Library, Trouble> {
        std::env::current_exe()
            .map(Library::by)
            .map_err(Trouble::broken)
    }

    /// The deputy of a task, made where there is none with its credentials yet.
    fn deputy(&mut self, caller: Caller) -> Result<&mut Deputy, Trouble> {
        let identity = identity(caller.tid)?;
        let key = serde_json::to_string(&identity).map_err(Trouble::broken)?;
        if !self.deputies.contains_key(&key) {
            let deputy = self.start(identity, caller)?;
            self.deputies.insert(key.clone(), deputy);
        }
        self.deputies
            .get_mut(&key)
            .ok_or_else(|| Trouble::broken("a deputy is lost"))
    }

    fn start(&self, identity: Identity, caller: Caller) -> Result<Deputy, Trouble> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(Trouble::broken)?;
        let limit = Some(std::time::Duration::from_secs(30));
        rustix::net::sockopt::set_socket_timeout(&ours, rustix::net::sockopt::Timeout::Recv, limit)
            .map_err(Trouble::broken)?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|error| {
                Trouble::broken(format!(
                    "cannot start {} as a deputy: {error}",
                    self.program.display()
                ))
            })?;
        let passing = identity.namespace.is_some();
        let mut deputy = Deputy {
            child,
            socket: ours,
            buffer: Vec::new(),
            passing,
        };
        let tid = i32::try_from(caller.tid).map_err(Trouble::broken)?;
        match deputy.ask(&Order::Be(identity, tid), None, &mut NoProcess)? {
            Done { answer: Ok(_), .. } => Ok(deputy),
            Done { answer, said, .. } => Err(Trouble::Broken(format!(
                "a deputy cannot take the caller's credentials: {answer:?} {}",
                said.unwrap_or_default()
            ))),
        }
    }
}

/// For an order in which nobody has to do anything to itself.
struct NoProcess;

impl OwnProcess for NoProcess {
    fn syscall(&mut self, _: u64, _: [u64; 6]) -> Result<i64, Trouble> {
        Err(Trouble::broken("a deputy asks for a call of nobody"))
    }

    fn put(&mut self, _: &[u64]) -> Result<u64, Trouble> {
        Err(Trouble::broken("a deputy asks for memory of nobody"))
    }
}

impl Deputy {
    /// Gives an order and has the caller do to itself what the deputy asks for.
    fn ask(
        &mut self,
        order: &Order,
        fd: Option<&OwnedFd>,
        own: &mut dyn OwnProcess,
    ) -> Result<Done, Trouble> {
        send(self.socket.as_fd(), order, fd)?;
        loop {
            let heard = receive::<Say>(self.socket.as_fd(), &mut self.buffer)?;
            match heard.map(|(say, _)| say) {
                None => return Err(Trouble::broken("a deputy ended: the library panicked")),
                Some(Say::Call(nr, args)) => {
                    let result = own.syscall(nr, args)?;
                    send(self.socket.as_fd(), &Order::Result(result), None)?;
                }
                Some(Say::Done {
                    value,
                    said,
                    short,
                    told,
                }) => {
                    return Ok(Done {
                        answer: value.map_err(Errno::from_raw),
                        said,
                        short,
                        told: told.as_ref().and_then(Words::told),
                    });
                }
            }
        }
    }
}

/// The credentials of a task, from its status file.
fn identity(tid: u32) -> Result<Identity, Trouble> {
    let text = std::fs::read_to_string(format!("/proc/{tid}/status")).map_err(Trouble::broken)?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
            .ok_or_else(|| Trouble::Broken(format!("the status lacks {name}")))
    };
    let ids = |name: &str| -> Result<[u32; 3], Trouble> {
        let mut ids = [0; 3];
        for (id, word) in ids.iter_mut().zip(field(name)?.split_whitespace()) {
            *id = word.parse().map_err(Trouble::broken)?;
        }
        Ok(ids)
    };
    let mask = |name: &str| u64::from_str_radix(field(name)?, 16).map_err(Trouble::broken);
    let link = |who: &str| {
        std::fs::read_link(format!("/proc/{who}/ns/user"))
            .map(|link| link.to_string_lossy().into_owned())
    };
    // A kernel without user namespaces has no such link.
    let namespace = match (link("self"), link(&tid.to_string())) {
        (Ok(ours), Ok(theirs)) if ours != theirs => Some(theirs),
        _ => None,
    };
    Ok(Identity {
        uid: ids("Uid:")?,
        gid: ids("Gid:")?,
        effective: mask("CapEff:")?,
        permitted: mask("CapPrm:")?,
        no_new_privs: field("NoNewPrivs:").is_ok_and(|on| on != "0"),
        namespace,
    })
}

/// The target as a deputy can take it, with the descriptor that it needs.
fn named(caller: Caller, target: EngineTarget) -> Result<(Named, Option<OwnedFd>), Trouble> {
    let number = |pid: u32| i32::try_from(pid).map_err(Trouble::broken);
    Ok(match target {
        EngineTarget::Own(_) => (Named::Own, None),
        EngineTarget::Pid { pid, inode } => (
            Named::Pid {
                pid: number(pid)?,
                inode,
            },
            None,
        ),
        EngineTarget::Fd(fd) if fd < 0 => (Named::NoDescriptor(fd), None),
        EngineTarget::Fd(fd) => {
            // By the thread itself where the kernel can (6.9): a first thread that has exited
            // holds no descriptors any more.
            const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(0o200);
            let open = |id: u32, flags| match Pid::from_raw(number(id)?) {
                Some(id) => pidfd_open(id, flags).map_err(Trouble::broken),
                None => Err(Trouble::broken("the caller has no number")),
            };
            let holder = open(caller.tid, PIDFD_THREAD)
                .or_else(|_| open(caller.pid, PidfdFlags::empty()))?;
            match pidfd_getfd(holder, fd, PidfdGetfdFlags::empty()) {
                Ok(copy) => (Named::Sent, Some(copy)),
                Err(rustix::io::Errno::BADF) => (Named::NoDescriptor(fd), None),
                Err(errno) => return Err(Trouble::broken(errno)),
            }
        }
    })
}

impl Engine for Library {
    fn name(&self) -> &'static str {
        "stock"
    }

    fn begin(&mut self, best_effort: bool) {
        self.best_effort = best_effort;
        // A namespace's number may come again.
        self.deputies.retain(|_, deputy| !deputy.passing);
    }

    fn knows_best_effort(&self) -> bool {
        true
    }

    fn mctl(&mut self, call: &EngineCall, own: &mut dyn OwnProcess) -> Result<Done, Trouble> {
        let (target, fd) = named(call.caller, call.target)?;
        let order = Order::Mctl {
            caller: i32::try_from(call.caller.pid).map_err(Trouble::broken)?,
            target,
            action: call.action,
            flags: call.flags,
            owner_rule: call.how.owner_rule,
            best_effort: self.best_effort || call.how.best_effort,
        };
        self.deputy(call.caller)?.ask(&order, fd.as_ref(), own)
    }

    fn process_madvise(
        &mut self,
        call: &EngineAdvice,
        own: &mut dyn OwnProcess,
    ) -> Result<Done, Trouble> {
        let (target, fd) = named(call.caller, call.target)?;
        let order = Order::Advise {
            caller: i32::try_from(call.caller.pid).map_err(Trouble::broken)?,
            target,
            entries: call.entries.clone(),
            advice: call.advice.raw(),
            flags: call.flags,
            destructive: call.destructive,
        };
        self.deputy(call.caller)?.ask(&order, fd.as_ref(), own)
    }
}
