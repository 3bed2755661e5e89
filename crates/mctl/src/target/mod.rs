//! Naming a process so that no other is ever hit.

mod filter;
pub(crate) mod group;
mod spec;
pub(crate) mod tasks;
pub(crate) mod view;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mctl_abi::{Action, Errno, Flags, PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP};
use mctl_sys::bounded::{self, ProcFile};
use mctl_sys::raw::madvise::{Range, madvise_self};
use mctl_sys::raw::native::Native;
use mctl_sys::raw::pidfd::{is_alive, is_pidfd, pidfd_inode, pidfd_open, pidfd_pid};

use crate::error::{Error, Result};
use crate::wait::stack::with_room;

pub use spec::ProcessSpec;

/// A process, held by a pidfd: its number may be used again after its death, this value then
/// answers ESRCH for ever.
#[derive(Debug)]
pub struct Target {
    pid: i32,
    /// `None` is the calling process, which needs none.
    pidfd: Option<OwnedFd>,
    /// Policies are set through its seccomp filter.
    through_filter: bool,
    /// It is the one that we act for, and its calls on itself are made by this.
    principal: Option<Box<dyn OwnCalls>>,
}

/// The calls of a process on itself, where somebody else acts for it.
pub trait OwnCalls: fmt::Debug + Send + Sync {
    /// prctl(2) in that process.
    ///
    /// # Errors
    /// The errno of the call; `ESRCH` where the process is gone.
    fn prctl(&self, option: u64, args: [u64; 4]) -> Result<i64, Errno>;

    /// A patched kernel's mctl() in that process, on itself: the call with this number.
    ///
    /// # Errors
    /// As [`OwnCalls::prctl`].
    fn mctl(&self, number: i32, action: Action, flags: Flags) -> Result<u32, Errno>;

    /// madvise(2) in that process, whatever the advice.
    ///
    /// # Errors
    /// As [`OwnCalls::prctl`].
    fn madvise(&self, range: Range, advice: i32) -> Result<(), Errno>;
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

impl Target {
    /// Opens the process that a person named.
    ///
    /// # Errors
    /// `ESRCH` no such process, or another one has the number now; `EINVAL` a thread's number;
    /// `EOPNOTSUPP` an inode was given and the kernel has none (before Linux 6.9), or `/proc` shows
    /// other processes than those that numbers mean to the caller; `EPERM` `/proc` hides it;
    /// `EMFILE`, `ENFILE` no descriptor to be had.
    pub fn open(spec: ProcessSpec) -> Result<Target> {
        with_room(|| {
            crate::target::view::check(|| format!("process {}", spec.pid))?;
            Target::open_seen(spec)
        })
    }

    /// As [`open`](Target::open), for a number that was read from `/proc` after it was checked whose
    /// processes that shows.
    pub(crate) fn open_seen(spec: ProcessSpec) -> Result<Target> {
        let pid = spec.pid;
        let pidfd = pidfd_open(pid).map_err(|errno| match errno {
            Errno::ESRCH => Error::NoProcess { pid },
            // EINVAL until Linux 6.14, ENOENT since: a thread that leads no group.
            Errno::EINVAL | Errno::ENOENT => match leader_of(pid) {
                Some(leader) => Error::IsThread {
                    tid: pid,
                    pid: leader,
                },
                None => Error::NoProcess { pid },
            },
            errno => Error::Read {
                what: format!("process {pid}"),
                why: no_pidfd(errno).to_owned(),
                errno,
            },
        })?;
        let target = Target {
            pid,
            pidfd: Some(pidfd),
            through_filter: false,
            principal: None,
        };
        target.has_descriptors()?;
        target.is_shown()?;
        if let Some(wanted) = spec.inode {
            let found = target.inode()?.ok_or(Error::NoInodes)?;
            if found != wanted {
                return Err(Error::Recycled { pid, wanted, found });
            }
        }
        Ok(target)
    }

    /// The calling process. What it does to itself needs no descriptor: where none is to be had (a
    /// limit, a seccomp filter) it is held without, and has no inode.
    ///
    /// # Errors
    /// None at present.
    pub fn own() -> Result<Target> {
        let pid = own_pid();
        Ok(Target {
            pid,
            pidfd: pidfd_open(pid).ok(),
            through_filter: false,
            principal: None,
        })
    }

    /// The calling process, without a descriptor.
    pub(crate) fn ourselves() -> Target {
        Target {
            pid: own_pid(),
            pidfd: None,
            through_filter: false,
            principal: None,
        }
    }

    /// # Errors
    /// `EMFILE`, `ENFILE`: too few are left for looking at it.
    fn has_descriptors(&self) -> Result<()> {
        match &self.pidfd {
            Some(pidfd) => {
                crate::host::descriptors::check(pidfd.as_fd(), || format!("process {}", self.pid))
            }
            None => Ok(()),
        }
    }

    /// # Errors
    /// `EPERM` it lives, and `/proc` hides it.
    fn is_shown(&self) -> Result<()> {
        match rustix::fs::stat(format!("/proc/{}", self.pid)) {
            Err(rustix::io::Errno::NOENT) if self.is_alive() => {
                Err(crate::target::view::hidden(self.pid))
            }
            _ => Ok(()),
        }
    }

    /// Takes over a pidfd, from pidfd_open(2) or clone3(2). A thread's pidfd (`PIDFD_THREAD`)
    /// names its process's address space.
    ///
    /// # Errors
    /// `EBADF` not a pidfd; `ESRCH` the process has ended, or is not visible in our PID
    /// namespace; `EOPNOTSUPP`, `EPERM`, `EMFILE`, `ENFILE` as of [`open`](Target::open).
    pub fn from_pidfd(pidfd: OwnedFd) -> Result<Target> {
        if !is_pidfd(pidfd.as_fd()) {
            return Err(Error::NotPidfd {
                fd: pidfd.as_raw_fd(),
            });
        }
        let fd = pidfd.as_raw_fd();
        let pid = pidfd_pid(pidfd.as_fd()).map_err(|errno| match errno {
            Errno::ESRCH => Error::NoProcess { pid: -1 },
            errno => not_a_pidfd(fd, errno),
        })?;
        let target = Target {
            pid,
            pidfd: Some(pidfd),
            through_filter: false,
            principal: None,
        };
        target.has_descriptors()?;
        crate::target::view::check(|| format!("process {pid}"))?;
        target.is_shown()?;
        Ok(target)
    }

    /// The target of a C-style `pidfd` argument: a descriptor, which stays the caller's, or
    /// `PIDFD_SELF_THREAD` / `PIDFD_SELF_THREAD_GROUP`, also on kernels that do not know them.
    ///
    /// # Errors
    /// As [`Target::from_pidfd`].
    pub fn from_raw(pidfd: i32) -> Result<Target> {
        if pidfd == PIDFD_SELF_THREAD || pidfd == PIDFD_SELF_THREAD_GROUP {
            return Target::own();
        }
        if pidfd < 0 {
            return Err(Error::NotPidfd { fd: pidfd });
        }
        // The descriptor is the caller's: ours is another one, opened through /proc by number.
        let copy =
            mctl_sys::raw::pidfd::duplicate(pidfd).map_err(|errno| not_a_pidfd(pidfd, errno))?;
        Target::from_pidfd(copy)
    }

    /// The process number, in our PID namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The inode of the pidfd, which names the process for as long as the system runs. `None`
    /// before Linux 6.9, and for ourselves where no descriptor was to be had.
    ///
    /// # Errors
    /// The descriptor cannot be asked.
    pub fn inode(&self) -> Result<Option<u64>> {
        let Some(pidfd) = &self.pidfd else {
            return Ok(None);
        };
        pidfd_inode(pidfd.as_fd()).map_err(|errno| Error::Read {
            what: format!("process {}", self.pid),
            why: "its pidfd cannot be asked for its inode".to_owned(),
            errno,
        })
    }

    /// `PID:INODE` where there is an inode.
    #[must_use]
    pub fn spec(&self) -> ProcessSpec {
        ProcessSpec {
            pid: self.pid,
            inode: self.inode().ok().flatten(),
        }
    }

    /// The process that we act for, as a broker does for its client: it counts as our own, and
    /// what a process does to itself is done by `calls`. Permission is still judged by our own
    /// credentials: whoever acts for another one carries those of that one.
    #[must_use]
    pub fn as_principal(mut self, calls: Box<dyn OwnCalls>) -> Target {
        self.principal = Some(calls);
        self
    }

    /// Lets policies be set on it though it runs under a seccomp filter that the caller may not suspend
    /// (that takes CAP_SYS_ADMIN): prctl(2) is called in it all the same.
    ///
    /// **A filter that does not expect the call may kill the process for it.** What a filter does is not to be
    /// seen without privilege; only what is known to kill or hold is refused. Advice and locks are not given
    /// through a filter.
    ///
    /// # Errors
    /// `EPERM` it is another user's, in strict mode, or under a filter whose listener an ancestor holds; `ESRCH`.
    pub fn through_filter(mut self) -> Result<Target> {
        // Whoever may suspend the filter does so, and takes no risk.
        if !crate::Caller::ask().suspends_seccomp {
            filter::check(&self)?;
            self.through_filter = true;
        }
        Ok(self)
    }

    /// Whether policies are set through its filter.
    pub(crate) fn goes_through_filter(&self) -> bool {
        self.through_filter
    }

    /// The look before prctl(2) is called in it.
    pub(crate) fn look_for_switches(
        &self,
    ) -> Result<mctl_sys::inject::Prepared<'_>, mctl_sys::inject::InjectError> {
        use mctl_sys::inject::Prepared;
        with_room(|| match self.through_filter {
            true => Prepared::look_through(self.pid, self.as_fd()),
            false => Prepared::look(self.pid, self.as_fd()),
        })
    }

    /// Whether this is the calling process, or the one that it acts for.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.principal.is_some() || self.pid == own_pid()
    }

    /// Who makes its calls on itself, where that is not we.
    pub(crate) fn principal(&self) -> Option<&dyn OwnCalls> {
        self.principal.as_deref()
    }

    /// prctl(2) by a process that is our own.
    pub(crate) fn own_prctl(&self, option: u64, args: [u64; 4]) -> Result<i64, Errno> {
        match &self.principal {
            Some(calls) => calls.prctl(option, args),
            None => mctl_sys::raw::prctl::prctl(option, args),
        }
    }

    /// A patched kernel's mctl() by a process that is our own, on itself.
    pub(crate) fn own_call(
        &self,
        native: Native,
        action: Action,
        flags: Flags,
    ) -> Result<u32, Errno> {
        match &self.principal {
            Some(calls) => calls.mctl(native.number(), action, flags),
            None => native.call(PIDFD_SELF_THREAD_GROUP, action, flags),
        }
    }

    /// madvise(2) by a process that is our own.
    pub(crate) fn own_madvise(&self, range: Range, advice: i32) -> Result<(), Errno> {
        match &self.principal {
            Some(calls) => calls.madvise(range, advice),
            None => madvise_self(range, advice),
        }
    }

    /// Whether the process has a live thread.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.pidfd
            .as_ref()
            .is_none_or(|pidfd| is_alive(pidfd.as_fd()).unwrap_or(false))
    }

    /// Whether it has ended, or nothing of it does more than that. Its files in `/proc` belong to root then, which
    /// to its owner looks like a matter of permission.
    pub(crate) fn is_ending(&self) -> bool {
        !self.is_alive() || (!self.is_own() && mctl_sys::inject::is_ending(self.pid))
    }

    /// The command name (`/proc/PID/comm`), for people. `?` once it is gone.
    #[must_use]
    pub fn name(&self) -> String {
        match std::fs::read(format!("{}/comm", self.proc_dir())) {
            Ok(name) => printable(&name),
            Err(_) => "?".to_owned(),
        }
    }

    /// Its directory in `/proc`. Our own is found whatever `/proc` shows.
    pub(crate) fn proc_dir(&self) -> String {
        if self.principal.is_none() && self.is_own() {
            "/proc/self".to_owned()
        } else {
            format!("/proc/{}", self.pid)
        }
    }

    /// Whether it may be stopped now, and by which thread; it is not touched for that.
    ///
    /// # Errors
    /// Why not, as of any call that is run in it.
    pub(crate) fn look(&self) -> Result<mctl_sys::inject::Prepared<'_>> {
        with_room(|| mctl_sys::inject::Prepared::look(self.pid, self.as_fd()))
            .map_err(|error| Error::inject(self.pid, error))
    }

    /// One look that reads many things, by one task.
    ///
    /// # Errors
    /// What the look answers; `EBUSY`: the kernel did not answer; `EINTR`.
    pub(crate) fn look_in_one_task<R>(&self, look: impl FnOnce() -> Result<R>) -> Result<R> {
        if self.is_own() {
            return look();
        }
        let undone = |undone: bounded::Undone| {
            let what = format!("/proc/{}", self.pid);
            Err(Error::read(what, &undone.into()))
        };
        bounded::run(look).unwrap_or_else(undone)
    }

    /// Reads a file of the process's /proc directory, and makes sure that it was this process's.
    ///
    /// # Errors
    /// `ESRCH` it ended; `EACCES`/`EPERM` not ours to read.
    pub(crate) fn open_proc(&self, file: &str) -> Result<ProcFile> {
        if self.pidfd.is_none() || self.is_own() {
            // Not looked at when it was made.
            crate::target::view::check(|| format!("process {}", self.pid))?;
        }
        let path = format!("/proc/{}/{file}", self.pid);
        let opened = ProcFile::open(&path);
        // Alive now means that the number was its own when the file was opened.
        if !self.is_alive() {
            return Err(Error::NoProcess { pid: self.pid });
        }
        opened.map_err(|error| Error::read(path, &error))
    }
}

/// A whole small file of a target's /proc directory.
pub(crate) fn read_all(target: &Target, file: &str) -> Result<Vec<u8>> {
    with_room(|| read_whole(target, file))
}

/// In one bounded task: the file is opened and read to its end in it.
fn read_whole(target: &Target, file: &str) -> Result<Vec<u8>> {
    let path = || format!("/proc/{}/{file}", target.pid());
    let whole = || {
        let mut text = Vec::new();
        let mut opened = target.open_proc(file)?;
        std::io::Read::read_to_end(&mut opened, &mut text).map_err(|error| {
            // Reading from a process that ended answers ESRCH.
            if error.raw_os_error() == Some(Errno::ESRCH.raw()) {
                Error::NoProcess { pid: target.pid() }
            } else {
                Error::read(path(), &error)
            }
        })?;
        Ok(text)
    };
    if !bounded::may_hang(file.as_bytes()) {
        return whole();
    }
    let read = bounded::run(whole);
    read.unwrap_or_else(|undone| Err(Error::read(path(), &undone.into())))
}

/// What `/proc/PID/comm` and the like say, made fit to be shown.
pub(crate) fn printable(name: &[u8]) -> String {
    mctl_sys::text::printable(name.strip_suffix(b"\n").unwrap_or(name))
}

/// A descriptor that could not be asked whose pidfd it is.
fn not_a_pidfd(fd: i32, errno: Errno) -> Error {
    match crate::host::descriptors::limit(errno) {
        Some(why) => Error::Read {
            what: format!("descriptor {fd}"),
            why: why.to_owned(),
            errno,
        },
        None => Error::NotPidfd { fd },
    }
}

/// Why pidfd_open(2) failed.
fn no_pidfd(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSYS => {
            "the kernel has no pidfd_open (Linux 5.3), or a seccomp filter on this program hides it"
        }
        Errno::EPERM | Errno::EACCES => {
            "a seccomp filter or security module on this program refuses pidfd_open"
        }
        errno => crate::host::descriptors::limit(errno).unwrap_or("pidfd_open failed"),
    }
}

fn leader_of(tid: i32) -> Option<i32> {
    let text = std::fs::read(format!("/proc/{tid}/status")).ok()?;
    let status = mctl_sys::procfs::status::Status::parse(&text).ok()?;
    i32::try_from(status.tgid?).ok().filter(|tgid| *tgid != tid)
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.pidfd {
            Some(pidfd) => pidfd.as_fd(),
            None => mctl_sys::raw::pidfd::ourselves(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ourselves() {
        let own = Target::own().unwrap();
        assert!(own.is_own() && own.is_alive());
        assert_eq!(Target::open(own.spec()).unwrap().pid(), own.pid());
        for special in [
            PIDFD_SELF_THREAD,
            PIDFD_SELF_THREAD_GROUP,
            own.as_fd().as_raw_fd(),
        ] {
            assert_eq!(Target::from_raw(special).unwrap().pid(), own.pid());
        }
    }

    #[test]
    fn another_inode_is_another_process() {
        let own = Target::own().unwrap();
        if let Some(inode) = own.inode().unwrap() {
            let spec = ProcessSpec {
                pid: own.pid(),
                inode: Some(inode ^ 1),
            };
            assert_eq!(Target::open(spec).unwrap_err().errno(), Errno::ESRCH);
        }
    }

    /// Answers 1 to every prctl(2) and refuses all advice.
    #[derive(Debug)]
    struct Client;

    impl OwnCalls for Client {
        fn prctl(&self, _: u64, _: [u64; 4]) -> Result<i64, Errno> {
            Ok(1)
        }

        fn mctl(&self, _: i32, _: Action, _: Flags) -> Result<u32, Errno> {
            Err(Errno::EPERM)
        }

        fn madvise(&self, _: Range, _: i32) -> Result<(), Errno> {
            Err(Errno::EINVAL)
        }
    }

    #[test]
    fn the_one_we_act_for_makes_its_calls_itself() {
        let mut child = std::process::Command::new("sleep")
            .arg("20")
            .spawn()
            .unwrap();
        let target = Target::open(child.id().to_string().parse().unwrap()).unwrap();
        assert!(!target.is_own());
        let target = target.as_principal(Box::new(Client));
        assert!(target.is_own());
        let reading = crate::read_policy(&target, crate::Look::Proc).unwrap();
        assert_eq!(reading.thp(), crate::Known::Is(mctl_abi::Thp::Never));
        assert_eq!(reading.mergeable, crate::Known::Is(true));
        let advise = crate::op::advice::Advise::new(crate::op::advice::Advice::DONTNEED);
        let range = Range {
            start: 1 << 12,
            len: 1 << 12,
        };
        // Its own memory is its own affair; and it is the client that answers.
        let advised = advise.ranges(vec![range]).give(&target).unwrap();
        assert_eq!(advised.as_syscall(), Err(Errno::EINVAL));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_is_no_pidfd() {
        let file = std::fs::File::open("/dev/null").unwrap();
        for fd in [-1, -100, i32::MAX, file.as_raw_fd()] {
            assert_eq!(
                Target::from_raw(fd).unwrap_err().errno(),
                Errno::EBADF,
                "{fd}"
            );
        }
    }

    #[test]
    fn a_thread_is_not_a_process() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            sender
                .send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            let _ = wait.recv();
        });
        let tid = receiver.recv().unwrap();
        let error = Target::open(ProcessSpec {
            pid: tid,
            inode: None,
        })
        .unwrap_err();
        assert!(matches!(error, Error::IsThread { .. }), "{error}");
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn names_are_made_printable() {
        assert_eq!(printable(b"a\x1b[31mb\n"), "a\\033[31mb");
        assert_eq!(printable(b"\xff\n\n"), "\\377\\012");
    }
}
