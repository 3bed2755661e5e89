//! The address space that ranges belong to, to be told from the one that an execve(2) puts in its place.

use std::os::fd::OwnedFd;

use super::look::Prepared;
use crate::raw::pidfd::is_alive;

/// An address space, by its file in /proc: the file stays with the one that it was opened for
/// (`mem_open()`, fs/proc/base.c), and keeps neither it nor its memory alive.
#[derive(Debug)]
pub struct Memory(OwnedFd);

impl Prepared<'_> {
    /// What the process has now. Opened before ranges are listed, it tells later whether they still are of the
    /// same program ([`Runs::of`](super::Runs::of)). `None` where it cannot be opened.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        // By a live thread: a first thread that has exited has none.
        let tid = self.candidates.iter().flatten().next()?.tid;
        let path = format!("/proc/{}/task/{tid}/mem", self.pid);
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let path = std::ffi::CString::new(path).ok()?;
        let mode = rustix::fs::Mode::empty();
        let open = || rustix::fs::open(path.as_c_str(), flags, mode);
        let file = crate::bounded::call(open).ok()?.ok()?;
        // Alive now means that the number was its own then.
        (is_alive(self.pidfd) == Ok(true)).then_some(Memory(file))
    }
}

impl Memory {
    /// Whether nobody has it any more: the process ended, or executes another program. (Whoever shares the
    /// memory, as a parent in vfork(2) does, or reads it at this moment, keeps it.) Runs in the shield: no allocation.
    pub(super) fn is_gone(&self) -> bool {
        // Of memory that is there, nothing at this address is an error, not the end of the file.
        let read = || rustix::io::pread(&self.0, &mut [0u8; 1], 0);
        crate::bounded::may_wait(read) == Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::pidfd::pidfd_open;
    use std::os::fd::AsFd as _;

    #[test]
    fn it_goes_with_the_program() {
        let fixture = mctl_testkit::start!("exec_loop", "every=30");
        let look = Prepared::look(fixture.pid(), fixture.pidfd()).unwrap();
        let first = look.memory().unwrap();
        let begun = std::time::Instant::now();
        while !first.is_gone() {
            assert!(
                begun.elapsed() < std::time::Duration::from_secs(60),
                "no exec"
            );
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        fixture.finish().unwrap().assert_clean(1);

        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = pidfd_open(pid).unwrap();
        let memory = Prepared::look(pid, pidfd.as_fd())
            .unwrap()
            .memory()
            .unwrap();
        for _ in 0..100 {
            assert!(!memory.is_gone());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Who happens to look at it (khugepaged, a reader in /proc) keeps it for that moment.
        let begun = std::time::Instant::now();
        while !memory.is_gone() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}
