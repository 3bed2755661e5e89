//! What a thread does, and whether it still does: two files in /proc, kept open from the look to the stop.
//!
//! Between the look and the stop a thread may wake and go on to a call that a stop would cut short. So the files
//! are read again at the last moment, with nothing between that and the request to stop but the return from the
//! read: less time than a thread takes to wake up and enter another call.

use std::os::fd::OwnedFd;

use mctl_abi::Errno;
use rustix::fs::{Mode, OFlags};

use super::files::path_of;
use crate::bounded::may_wait;

/// A line of /proc/PID/task/TID/syscall has at most 170 bytes.
const CALL_LEN: usize = 192;
const WCHAN_LEN: usize = 64;

/// What a thread was seen doing.
#[derive(Debug)]
pub(super) struct Witness {
    call_file: OwnedFd,
    wchan_file: OwnedFd,
    call: Text<CALL_LEN>,
    wchan: Text<WCHAN_LEN>,
}

#[derive(Debug)]
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    fn read(file: &OwnedFd) -> Result<Self, Errno> {
        let mut bytes = [0; N];
        let len = may_wait(|| rustix::io::pread(file, &mut bytes, 0))
            .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
        Ok(Text { bytes, len })
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Witness {
    /// Fit for the shield: no allocation.
    ///
    /// # Errors
    /// The errno of open(2) or read(2): the thread has ended, or must not be looked at.
    pub(super) fn look(tid: i32) -> Result<Witness, Errno> {
        let open = |name: &str| {
            let mut path = [0u8; 40];
            let path = path_of(tid, name, &mut path).ok_or(Errno::ENAMETOOLONG)?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            may_wait(|| rustix::fs::open(path, flags, Mode::empty()))
                .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
        };
        let call_file = open("syscall")?;
        let wchan_file = open("wchan")?;
        // The call first: a thread that wakes in between then shows the wrong function, or none, not the wrong call.
        let call = Text::read(&call_file)?;
        let wchan = Text::read(&wchan_file)?;
        Ok(Witness {
            call_file,
            wchan_file,
            call,
            wchan,
        })
    }

    /// The text of /proc/PID/task/TID/syscall.
    pub(super) fn call(&self) -> &[u8] {
        self.call.get()
    }

    /// The kernel function in which the thread sleeps.
    pub(super) fn wchan(&self) -> &[u8] {
        self.wchan.get()
    }

    /// Whether the thread still sleeps in that call, with those arguments, in that function. In the shield: no
    /// allocation.
    pub(super) fn still_stands(&self) -> bool {
        let same = |now: Result<Text<WCHAN_LEN>, Errno>| {
            now.is_ok_and(|now| now.get() == self.wchan.get())
        };
        // The call last: it tells that the thread sleeps at this moment.
        same(Text::read(&self.wchan_file))
            && Text::<CALL_LEN>::read(&self.call_file).is_ok_and(|now| now.get() == self.call())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_sleeper_and_of_one_that_runs() {
        let fixture = mctl_testkit::start!("pause", "every=0");
        let patience = std::time::Duration::from_secs(60);
        fixture.wait_blocked(patience).unwrap();
        let witness = Witness::look(fixture.pid()).unwrap();
        assert!(!witness.wchan().is_empty());
        for _ in 0..1000 {
            assert!(witness.still_stands());
        }
        fixture.finish().unwrap().assert_clean(1);
        assert!(!witness.still_stands(), "it has ended");

        assert!(Witness::look(i32::MAX).is_err());
    }
}
