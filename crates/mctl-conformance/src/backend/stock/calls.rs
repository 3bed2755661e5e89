//! Steps as orders to the agent.

use mctl_abi::{Errno, PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP};
use mctl_model::{CloneKind, VmFlags};

use super::hand::{Hand, order};
use super::{StockBackend, identity, memlock, nr, proc};
use crate::backend::engine::{Caller, EngineCall, EngineTarget, OwnProcess};
use crate::backend::{Answer, Backend, Trouble};
use crate::call::{Addr, Call, Life, Prctl, Whom};

/// A raw result as an answer; a pointer or a number above zero counts as success.
pub(in crate::backend) fn answer(result: i64) -> Answer {
    if (-4095..0).contains(&result) {
        Err(Errno::from_raw(i32::try_from(-result).unwrap_or(0)))
    } else {
        Ok(result)
    }
}

pub(super) fn unit(result: i64) -> Answer {
    answer(result).map(|_| 0)
}

/// A descriptor as an argument: sign-extended.
pub(in crate::backend) fn fd_arg(fd: i64) -> u64 {
    u64::from_ne_bytes(fd.to_ne_bytes())
}

pub(super) fn rights(prot: VmFlags) -> u64 {
    u64::from(prot.bits() & 7)
}

impl OwnProcess for Hand {
    fn syscall(&mut self, nr: u64, args: [u64; 6]) -> Result<i64, Trouble> {
        Hand::syscall(self, nr, args)
    }

    fn put(&mut self, words: &[u64]) -> Result<u64, Trouble> {
        let orders: Vec<_> = (0..)
            .zip(words)
            .map(|(at, word)| order::poke(at, *word))
            .collect();
        self.all(&orders)?;
        Ok(self.scratch)
    }
}

impl StockBackend {
    pub(super) fn carry_out(&mut self, task: u16, call: &Call) -> Result<Answer, Trouble> {
        if self.task(task)?.reaped || self.task(task)?.ended {
            return Ok(Err(Errno::ESRCH));
        }
        if self.task(task)?.blocked {
            return Ok(Err(Errno::EBUSY));
        }
        self.turn_to(task)?;
        if let Some((number, args)) = self.plain(call) {
            return Ok(unit(self.task(task)?.hand.syscall(number, args)?));
        }
        match call {
            Call::Map { .. } => self.map(task, call),
            Call::Remap { .. } => self.remap(task, call),
            Call::Brk(at) => {
                let want = self.places.resolve(*at);
                let end = self
                    .task(task)?
                    .hand
                    .syscall(nr::BRK, [want, 0, 0, 0, 0, 0])?;
                Ok(if u64::try_from(end) == Ok(want) {
                    Ok(0)
                } else {
                    Err(Errno::ENOMEM)
                })
            }
            Call::Touch(at, len, write) => {
                let start = self.places.resolve(*at);
                let orders = [order::touch(start, *len, *write)];
                Ok(answer(self.task(task)?.hand.all(&orders)?))
            }
            Call::Clone(kind, child) => self.make(task, *kind, *child),
            Call::Exec { set_uid, script } => self.exec(task, *set_uid, *script),
            Call::Exit | Call::ExitThread => {
                let number = if *call == Call::Exit {
                    nr::EXIT_GROUP
                } else {
                    nr::EXIT
                };
                self.task(task)?
                    .hand
                    .send(&[order::syscall(number, [0; 6])])?;
                self.ended(task, *call == Call::Exit)?;
                Ok(Ok(0))
            }
            Call::Wait(child) => self.wait(task, *child),
            Call::Kill(target, signal) => {
                let target = &self.by_number(*target)?;
                if self.counts_as_gone(Whom::Task(*target))? {
                    return Ok(Err(Errno::ESRCH));
                }
                let found = self.task(*target)?;
                if found.reaped || (found.thread && found.ended) {
                    // Its number may be a stranger's by now.
                    return Ok(Err(Errno::ESRCH));
                }
                let pid = u64::from(found.hand.pid);
                let signal_arg = u64::try_from(*signal).unwrap_or(u64::MAX);
                let args = [pid, signal_arg, 0, 0, 0, 0];
                let done = unit(self.task(task)?.hand.syscall(nr::KILL, args)?);
                if done.is_ok() && *signal != 0 && *target != task {
                    self.ended(*target, true)?;
                }
                Ok(done)
            }
            Call::PidfdOpen(fd, target, flags) => {
                let opened = self.open_pidfd(task, *target, *flags)?;
                Ok(opened.map(|number| self.bind_fd(*fd, number)))
            }
            Call::OpenOther(fd) => {
                let opened = self.open(task, std::path::Path::new("/dev/null"), 0)?;
                Ok(opened.map(|number| self.bind_fd(*fd, number)))
            }
            Call::Close(fd) => {
                let number = self.fd(*fd);
                self.close(task, number)
            }
            Call::Mctl(whom, action, flags, how) => {
                let (target, close) = match self.name(task, *whom)? {
                    Ok(named) => named,
                    Err(errno) => return Ok(Err(errno)),
                };
                let call = EngineCall {
                    caller: self.caller(task)?,
                    target,
                    action: *action,
                    flags: *flags,
                    how: *how,
                };
                let StockBackend { engine, tasks, .. } = self;
                let own = tasks.get_mut(usize::from(task)).and_then(Option::as_mut);
                let own = own.ok_or_else(|| Trouble::broken("the task was never started"))?;
                let done = engine.mctl(&call, &mut own.hand);
                self.close_after(task, close)?;
                Ok(self.heard(done?))
            }
            Call::FillMappings(left) => self.fill_mappings(task, *left),
            Call::Memlock(bytes) => {
                let hand = &mut self.task(task)?.hand;
                let orders = memlock(hand.scratch, *bytes)?;
                Ok(unit(hand.each(&orders)?))
            }
            Call::Become(uid, caps) => {
                let hand = &mut self.task(task)?.hand;
                let orders = identity(hand.scratch, *uid, *caps);
                Ok(unit(hand.each(&orders)?))
            }
            Call::ProcessMadvise(whom, advice, flags, list) => {
                self.process_madvise(task, *whom, *advice, *flags, list)
            }
            Call::Pmadvise(whom, advice, flags, entries, destructive) => {
                self.pmadvise(task, *whom, *advice, *flags, entries, *destructive)
            }
            Call::ReadFile(file, first, pages) => self.read_file(task, *file, *first, *pages),
            Call::Prctl(which, args) => {
                let [a, b, c, d] = *args;
                let args = [prctl_number(*which), a, b, c, d, 0];
                Ok(answer(self.task(task)?.hand.syscall(nr::PRCTL, args)?))
            }
            _ => Err(Trouble::broken("a step that the agent does not know")),
        }
    }

    /// The calls that are one system call with numbers.
    fn plain(&self, call: &Call) -> Option<(u64, [u64; 6])> {
        let at = |addr: &Addr| self.places.resolve(*addr);
        Some(match call {
            Call::Unmap(addr, len) => (nr::MUNMAP, [at(addr), *len, 0, 0, 0, 0]),
            Call::Protect(addr, len, prot, down) => {
                let down = if *down { 0x0100_0000 } else { 0 };
                (
                    nr::MPROTECT,
                    [at(addr), *len, rights(*prot) | down, 0, 0, 0],
                )
            }
            Call::Madvise(addr, len, advice) => {
                let advice = fd_arg(i64::from(advice.raw()));
                (nr::MADVISE, [at(addr), *len, advice, 0, 0, 0])
            }
            Call::Lock(addr, len) => (nr::MLOCK, [at(addr), *len, 0, 0, 0, 0]),
            Call::Lock2(addr, len, flags) => {
                (nr::MLOCK2, [at(addr), *len, u64::from(*flags), 0, 0, 0])
            }
            Call::Unlock(addr, len) => (nr::MUNLOCK, [at(addr), *len, 0, 0, 0, 0]),
            Call::LockAll(flags) => (nr::MLOCKALL, [u64::from(*flags), 0, 0, 0, 0, 0]),
            Call::UnlockAll => (nr::MUNLOCKALL, [0; 6]),
            Call::UnshareUser => (nr::UNSHARE, [0x1000_0000, 0, 0, 0, 0, 0]),
            Call::Prctl(which, args) if !is_getter(*which) => {
                let number = prctl_number(*which);
                let [a, b, c, d] = *args;
                (nr::PRCTL, [number, a, b, c, d, 0])
            }
            _ => return None,
        })
    }

    pub(super) fn fd(&self, fd: u16) -> i64 {
        self.fds
            .get(usize::from(fd))
            .copied()
            .flatten()
            .unwrap_or(-1)
    }

    fn bind_fd(&mut self, fd: u16, number: i64) -> i64 {
        let at = usize::from(fd);
        if self.fds.len() <= at {
            self.fds.resize(at + 1, None);
        }
        if let Some(slot) = self.fds.get_mut(at) {
            *slot = Some(number);
        }
        0
    }

    pub(super) fn close(&mut self, task: u16, fd: i64) -> Result<Answer, Trouble> {
        let args = [fd_arg(fd), 0, 0, 0, 0, 0];
        Ok(unit(self.task(task)?.hand.syscall(nr::CLOSE, args)?))
    }

    pub(super) fn close_after(&mut self, task: u16, fd: Option<i64>) -> Result<(), Trouble> {
        match fd {
            Some(fd) => self.close(task, fd).map(|_| ()),
            None => Ok(()),
        }
    }

    pub(super) fn open_pidfd(
        &mut self,
        task: u16,
        target: u16,
        flags: u32,
    ) -> Result<Answer, Trouble> {
        let target = self.by_number(target)?;
        if self.task(target)?.reaped {
            return Ok(Err(Errno::ESRCH));
        }
        let tid = u64::from(self.task(target)?.hand.tid);
        let args = [tid, u64::from(flags), 0, 0, 0, 0];
        Ok(answer(self.task(task)?.hand.syscall(nr::PIDFD_OPEN, args)?))
    }

    /// Opens a path in a task.
    pub(super) fn open(
        &mut self,
        task: u16,
        path: &std::path::Path,
        flags: u64,
    ) -> Result<Answer, Trouble> {
        let hand = &mut self.task(task)?.hand;
        let mut orders = poke_path(path);
        orders.push(order::syscall(nr::OPEN, [hand.scratch, flags, 0, 0, 0, 0]));
        Ok(answer(hand.all(&orders)?))
    }

    pub(super) fn caller(&mut self, task: u16) -> Result<Caller, Trouble> {
        let hand = &self.task(task)?.hand;
        Ok(Caller {
            pid: hand.pid,
            tid: hand.tid,
        })
    }

    /// One that nobody waits for is a zombie until the history ends, and counts as gone.
    pub(super) fn counts_as_gone(&mut self, whom: Whom) -> Result<bool, Trouble> {
        match whom {
            Whom::Task(other) => {
                let other = self.by_number(other)?;
                Ok(!self.task(other)?.reaped && self.life(other)? == Life::Gone)
            }
            _ => Ok(false),
        }
    }

    /// Whom a call names, and the descriptor to close after it.
    pub(super) fn name(
        &mut self,
        task: u16,
        whom: Whom,
    ) -> Result<Result<(EngineTarget, Option<i64>), Errno>, Trouble> {
        if self.counts_as_gone(whom)? {
            return Ok(Err(Errno::ESRCH));
        }
        let by_fd = |fd: i64| EngineTarget::Fd(i32::try_from(fd).unwrap_or(-1));
        let target = match whom {
            Whom::SelfThread => EngineTarget::Own(PIDFD_SELF_THREAD),
            Whom::SelfProcess => EngineTarget::Own(PIDFD_SELF_THREAD_GROUP),
            Whom::RawFd(fd @ (PIDFD_SELF_THREAD | PIDFD_SELF_THREAD_GROUP)) => {
                EngineTarget::Own(fd)
            }
            Whom::Fd(fd) => by_fd(self.fd(fd)),
            Whom::RawFd(fd) => EngineTarget::Fd(fd),
            Whom::Task(other) => {
                return Ok(match self.open_pidfd(task, other, 0)? {
                    Ok(fd) => Ok((by_fd(fd), Some(fd))),
                    Err(errno) => Err(errno),
                });
            }
            Whom::Pid(other, right) => {
                let other = self.follow(other)?;
                let other = self.task(other)?;
                let pid = other.hand.pid;
                let inode = match other.reaped {
                    // An identity that nobody has: the number may be somebody else's by now.
                    true => 1,
                    false => proc::identity(pid)? ^ u64::from(!right),
                };
                EngineTarget::Pid { pid, inode }
            }
        };
        Ok(Ok((target, None)))
    }

    fn make(&mut self, task: u16, kind: CloneKind, child: u16) -> Result<Answer, Trouble> {
        let number = match kind {
            CloneKind::Fork => 0,
            CloneKind::Vfork => 1,
            CloneKind::Vm => 2,
            CloneKind::Thread => 3,
        };
        let name = self.fresh_name();
        let recycled = self.recycled()?;
        if recycled.is_some() && kind != CloneKind::Fork {
            let why = "only a process that a fork or the harness makes gets a number again";
            return Err(Trouble::NotPossible(why.to_owned()));
        }
        let pid = recycled.map_or(0, |(_, number)| number);
        let hand = &mut self.task(task)?.hand;
        let order = [order::make(number, name, pid)];
        if kind == CloneKind::Vfork {
            hand.send(&order)?;
            hand.owes();
            self.welcome(child, name, false)?;
            self.task(child)?.own_bases = self.task(task)?.own_bases;
            self.task(child)?.frees = Some(task);
            self.task(child)?.parent = Some(task);
            self.task(task)?.blocked = true;
            return Ok(Ok(0));
        }
        let made = answer(hand.all(&order)?);
        let made = self.recycled_to(recycled, child, made)?;
        if made.is_ok() {
            self.welcome(child, name, kind == CloneKind::Thread)?;
            self.task(child)?.own_bases = self.task(task)?.own_bases;
            self.task(child)?.parent = Some(task);
        }
        Ok(made.map(|_| 0))
    }

    fn exec(&mut self, task: u16, set_uid: Option<u32>, script: bool) -> Result<Answer, Trouble> {
        let path = match (set_uid, script) {
            (uid, true) => self.agent.script(uid)?,
            (Some(uid), false) => self.agent.set_uid_copy(uid)?,
            // Not what runs: that may be a copy with the bit.
            (None, false) => self.agent.path().to_owned(),
        };
        let slot = self.task(task)?;
        // By itself: the results of orders before it in a batch would go with the old image.
        slot.hand.all(&poke_path(&path))?;
        let scratch = slot.hand.scratch;
        let done = unit(slot.hand.exec(scratch)?);
        slot.reader.forget();
        if done.is_ok() {
            self.settle(task)?;
            self.take_first_place(task)?;
            self.others_gone(task)?;
            let hand = &mut self.task(task)?.hand;
            // A thread that execs takes the first one's number.
            hand.tid = hand.pid;
            self.release(task)?;
        }
        Ok(done)
    }

    fn wait(&mut self, task: u16, child: u16) -> Result<Answer, Trouble> {
        const WNOHANG: u64 = 1;
        let child = self.by_number(child)?;
        // A thread has a number of its own, and is nobody's child.
        let pid = u64::from(self.task(child)?.hand.tid);
        if self.task(child)?.reaped {
            return Ok(Err(Errno::ECHILD));
        }
        let args = [pid, 0, WNOHANG, 0, 0, 0];
        let got = answer(self.task(task)?.hand.syscall(nr::WAIT4, args)?);
        Ok(match got {
            Ok(0) => Err(Errno::EAGAIN),
            Ok(_) => {
                self.task(child)?.reaped = true;
                Ok(0)
            }
            Err(errno) => Err(errno),
        })
    }

    fn read_file(
        &mut self,
        task: u16,
        file: u16,
        first: u64,
        pages: u64,
    ) -> Result<Answer, Trouble> {
        let known = self.files.get(usize::from(file)).cloned().flatten();
        let (path, _) = known.ok_or_else(|| Trouble::broken("the file was never made"))?;
        let fd = match self.open(task, &path, 0)? {
            Ok(fd) => fd,
            Err(errno) => return Ok(Err(errno)),
        };
        let hand = &mut self.task(task)?.hand;
        let orders: Vec<_> = (first..first.saturating_add(pages))
            .map(|page| {
                let args = [fd_arg(fd), hand.scratch, 4096, page * 4096, 0, 0];
                order::syscall(nr::PREAD, args)
            })
            .collect();
        let read = hand.all(&orders)?;
        self.close_after(task, Some(fd))?;
        Ok(unit(read))
    }
}

fn prctl_number(which: Prctl) -> u64 {
    Prctl::ALL
        .iter()
        .find(|(known, ..)| *known == which)
        .map_or(0, |(.., number)| *number)
}

fn is_getter(which: Prctl) -> bool {
    matches!(
        which,
        Prctl::GetThpDisable | Prctl::GetMemoryMerge | Prctl::GetNoNewPrivs
    )
}

/// Writes a path into the scratch memory.
fn poke_path(path: &std::path::Path) -> Vec<super::hand::Order> {
    use std::os::unix::ffi::OsStrExt;
    let mut bytes = path.as_os_str().as_bytes().to_vec();
    bytes.push(0);
    (0..)
        .zip(bytes.chunks(8))
        .map(|(at, chunk)| {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            order::poke(at, u64::from_ne_bytes(word))
        })
        .collect()
}
