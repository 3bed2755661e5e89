//! The mctl() system call of a kernel that has it.
//!
//! Such a kernel announces the call's number in `/sys/kernel/mm/mctl/nr`. The number is never
//! guessed: on another kernel the same number is some other call, or will be.

use mctl_abi::{Action, Errno, Flags};
use rustix::fs::{Mode, OFlags};

use super::checked;

/// Where the number stands.
pub const ANNOUNCEMENT: &str = "/sys/kernel/mm/mctl/nr";

/// `SYSFS_MAGIC` (include/uapi/linux/magic.h).
const SYSFS: u64 = 0x6265_6572;
/// The longest line that a number takes.
const LINE: usize = 12;

/// The system call, as the running kernel announced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Native {
    number: i32,
}

impl Native {
    /// Asks the running kernel. `None`: it has no such call, or `/sys` is not the kernel's own
    /// (another file system could name any call).
    #[must_use]
    pub fn announced() -> Option<Native> {
        let file = rustix::fs::open(
            ANNOUNCEMENT,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY,
            Mode::empty(),
        )
        .ok()?;
        let kind = rustix::fs::fstatfs(&file).ok()?.f_type;
        if u64::try_from(kind) != Ok(SYSFS) {
            return None;
        }
        let mut line = [0u8; LINE];
        let got = rustix::io::read(&file, &mut line).ok()?;
        parse(line.get(..got)?).map(|number| Native { number })
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.number
    }

    /// `mctl(pidfd, action, flags)`, whatever the numbers are; the kernel checks them.
    ///
    /// # Errors
    /// The kernel's errno, as docs/CONTRACT.md#check-order lists them.
    pub fn call_raw(self, pidfd: i32, action: i32, flags: u32) -> Result<u32, Errno> {
        // SAFETY: the kernel itself gave this number for mctl(), which takes three integers and
        // neither reads nor writes memory of the caller. The policy that it changes concerns
        // which pages back memory, never their content.
        let ret = checked(unsafe {
            libc::syscall(libc::c_long::from(self.number), pidfd, action, flags)
        })?;
        u32::try_from(ret).map_err(|_| Errno::EIO)
    }

    /// The same with words that are known.
    ///
    /// # Errors
    /// As [`Native::call_raw`].
    pub fn call(self, pidfd: i32, action: Action, flags: Flags) -> Result<u32, Errno> {
        self.call_raw(pidfd, action.number(), flags.bits())
    }
}

/// A decimal number and a newline. Zero is a call everywhere, and never this one.
fn parse(line: &[u8]) -> Option<i32> {
    let digits = line.strip_suffix(b"\n").unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits)
        .ok()?
        .parse()
        .ok()
        .filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_is_a_number() {
        assert_eq!(parse(b"548\n"), Some(548));
        assert_eq!(parse(b"548"), Some(548));
        for bad in [
            &b""[..],
            b"\n",
            b"0\n",
            b"-1\n",
            b"+548\n",
            b" 548\n",
            b"548 \n",
            b"0x224\n",
            b"2147483648\n",
            b"\xff\n",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn it_is_there_where_the_file_is() {
        let announced = std::fs::read_to_string(ANNOUNCEMENT).ok();
        assert_eq!(
            Native::announced().map(|native| native.number().to_string()),
            announced.map(|line| line.trim().to_owned())
        );
    }
}
