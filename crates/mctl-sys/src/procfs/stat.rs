//! `/proc/PID/stat`: one line of numbers around the command name.
//!
//! Source: `proc_pid_stat(5)`; `do_task_stat()` in `fs/proc/array.c`. Some fields are written as 0
//! for a reader without ptrace access to the process; none of those is read here but `exit_code`.

use super::error::Malformed;
use super::lines::words;
use super::num::{dec_i32, dec_i64, dec_u32, dec_u64};

/// The fields of `/proc/PID/stat` that mctl needs, by the names of the man page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat<'a> {
    /// The thread's id.
    pub pid: u32,
    /// The command name, raw: it may hold spaces, parentheses and newlines.
    pub comm: &'a [u8],
    /// The state's letter.
    pub state: u8,
    /// The parent's process id.
    pub ppid: u32,
    /// The process group.
    pub pgrp: i32,
    /// The session.
    pub session: i32,
    /// The controlling terminal's device number; 0 for none.
    pub tty_nr: i32,
    /// The terminal's foreground process group; −1 for none.
    pub tpgid: i32,
    /// The kernel's `PF_*` flags: see [`Stat::is_kernel_thread`].
    pub flags: u32,
    /// Minor page faults.
    pub minflt: u64,
    /// Major page faults.
    pub majflt: u64,
    /// User time in clock ticks, `sysconf(_SC_CLK_TCK)` per second.
    pub utime: u64,
    /// System time in clock ticks.
    pub stime: u64,
    /// The nice value.
    pub nice: i32,
    /// How many threads the process has.
    pub num_threads: u32,
    /// When the process started, in clock ticks since boot. With the pid it names a process, but
    /// only as finely as a tick: a pidfd's inode is better.
    pub starttime: u64,
    /// The size of all mappings in bytes.
    pub vsize: u64,
    /// Present memory in pages, as of the last update of the kernel's counters.
    pub rss: i64,
    /// The signal that the parent gets when the process ends; 0 for none, −1 for a thread.
    pub exit_signal: Option<i32>,
    /// The CPU that it last ran on.
    pub processor: Option<u32>,
    /// The scheduling policy, `SCHED_*`.
    pub policy: Option<u32>,
    /// The exit status, as waitpid(2) gives it.
    pub exit_code: Option<i32>,
}

/// `PF_EXITING`: on its way out. The values have not changed since Linux 2.6.
const PF_EXITING: u32 = 0x4;
/// `PF_KTHREAD`: a kernel thread.
const PF_KTHREAD: u32 = 0x0020_0000;

impl<'a> Stat<'a> {
    /// Parses the line.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first field that is not as the kernel writes it.
    pub fn parse(text: &'a [u8]) -> Result<Self, Malformed> {
        // Only the last parenthesis is the kernel's: the name may hold any number of them.
        let close = memchr::memrchr(b')', text).ok_or(Malformed::Missing("comm"))?;
        let (head, tail) = text.split_at_checked(close).unwrap_or_default();
        let open = memchr::memchr(b'(', head).ok_or(Malformed::Missing("comm"))?;
        let (pid, comm) = head.split_at_checked(open).unwrap_or_default();
        let pid = pid.strip_suffix(b" ").ok_or(Malformed::Separator("pid"))?;
        let mut fields = Fields {
            words: words(tail.get(1..).unwrap_or_default()),
            number: 2,
        };
        Ok(Self {
            pid: dec_u32(pid, "pid")?,
            comm: comm.get(1..).unwrap_or_default(),
            state: match fields.at(3) {
                &[letter] => letter,
                [] => return Err(Malformed::Missing("state")),
                _ => return Err(Malformed::Unexpected("state")),
            },
            ppid: dec_u32(fields.at(4), "ppid")?,
            pgrp: dec_i32(fields.at(5), "pgrp")?,
            session: dec_i32(fields.at(6), "session")?,
            tty_nr: dec_i32(fields.at(7), "tty_nr")?,
            tpgid: dec_i32(fields.at(8), "tpgid")?,
            flags: dec_u32(fields.at(9), "flags")?,
            minflt: dec_u64(fields.at(10), "minflt")?,
            majflt: dec_u64(fields.at(12), "majflt")?,
            utime: dec_u64(fields.at(14), "utime")?,
            stime: dec_u64(fields.at(15), "stime")?,
            nice: dec_i32(fields.at(19), "nice")?,
            num_threads: dec_u32(fields.at(20), "num_threads")?,
            starttime: dec_u64(fields.at(22), "starttime")?,
            vsize: dec_u64(fields.at(23), "vsize")?,
            rss: dec_i64(fields.at(24), "rss")?,
            exit_signal: optional(fields.at(38), |word| dec_i32(word, "exit_signal"))?,
            processor: optional(fields.at(39), |word| dec_u32(word, "processor"))?,
            policy: optional(fields.at(41), |word| dec_u32(word, "policy"))?,
            exit_code: optional(fields.at(52), |word| dec_i32(word, "exit_code"))?,
        })
    }

    /// Whether it is a kernel thread, which has no address space of its own.
    #[must_use]
    pub const fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }

    /// Whether it is on its way out, or a zombie already.
    #[must_use]
    pub const fn is_exiting(&self) -> bool {
        self.flags & PF_EXITING != 0 || matches!(self.state, b'Z' | b'X')
    }
}

/// The fields after the name, by the man page's numbers.
struct Fields<I> {
    words: I,
    number: usize,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Fields<I> {
    /// The field with this number, or nothing if the line ends before it. Numbers must increase.
    fn at(&mut self, number: usize) -> &'a [u8] {
        let skipped = number.saturating_sub(self.number).saturating_sub(1);
        self.number = number;
        self.words.nth(skipped).unwrap_or_default()
    }
}

fn optional<T>(
    word: &[u8],
    parse: impl FnOnce(&[u8]) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if word.is_empty() {
        Ok(None)
    } else {
        parse(word).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_data::STAT;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_captured_line() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!((stat.pid, stat.comm, stat.state), (3860, &b"cat"[..], b'R'));
        assert_eq!((stat.ppid, stat.pgrp, stat.session), (3850, 3850, 2712));
        assert_eq!((stat.tty_nr, stat.tpgid, stat.flags), (0, -1, 0x0040_0000));
        assert_eq!(
            (stat.minflt, stat.majflt, stat.nice, stat.num_threads),
            (101, 0, 0, 1)
        );
        assert_eq!(
            (stat.starttime, stat.vsize, stat.rss),
            (72_156, 3_133_440, 383)
        );
        assert_eq!((stat.exit_signal, stat.processor), (Some(17), Some(0)));
        assert_eq!(stat.exit_code, Some(0));
        assert!(!stat.is_kernel_thread() && !stat.is_exiting());
    }

    #[test]
    fn a_short_line_is_an_error_not_a_guess() {
        assert_eq!(Stat::parse(b""), Err(Malformed::Missing("comm")));
        assert_eq!(Stat::parse(b"1 (a"), Err(Malformed::Missing("comm")));
        assert_eq!(Stat::parse(b")("), Err(Malformed::Missing("comm")));
        assert_eq!(Stat::parse(b"1 (a)"), Err(Malformed::Missing("state")));
        assert_eq!(
            Stat::parse(b"1 (a) R 2 3"),
            Err(Malformed::Missing("session"))
        );
        assert_eq!(
            Stat::parse(b"1 (a) R x 3"),
            Err(Malformed::NotANumber("ppid"))
        );
    }

    proptest! {
        #[test]
        fn any_name_is_found(name in proptest::collection::vec(any::<u8>(), 0..16)) {
            let mut text = b"3860 (".to_vec();
            text.extend_from_slice(&name);
            text.extend_from_slice(STAT.strip_prefix(b"3860 (cat").unwrap());
            let stat = Stat::parse(&text).unwrap();
            prop_assert_eq!(stat.comm, &name[..]);
            prop_assert_eq!(stat.starttime, 72_156);
        }

        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Stat::parse(&text);
        }

        #[test]
        fn never_panics_on_a_cut_line(length in 0..STAT.len()) {
            let _ = Stat::parse(&STAT[..length]);
        }
    }
}
