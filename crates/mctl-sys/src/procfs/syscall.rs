//! `/proc/PID/task/TID/syscall`: the system call that a thread is blocked in.
//!
//! Source: `proc_pid_syscall(5)`; `proc_pid_syscall()` in `fs/proc/base.c`. Reading it needs ptrace
//! attach access to the target.

use super::error::Malformed;
use super::lines::words;
use super::num::{dec_i32, prefixed_hex_u64};

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskSyscall {
    /// It runs, in the kernel or outside: nothing more is known.
    Running,
    /// It is blocked in a system call.
    Blocked {
        /// The number of the call, as the thread's architecture counts.
        nr: i32,
        /// The six argument registers, whether the call uses them or not.
        args: [u64; 6],
        /// The stack pointer.
        sp: u64,
        /// The program counter.
        pc: u64,
    },
    /// It is blocked, but not in a system call: in a page fault, or stopped by a signal.
    Outside {
        /// The negative number in the place of the call's: −1, unless a tracer wrote another.
        nr: i32,
        /// The stack pointer.
        sp: u64,
        /// The program counter.
        pc: u64,
    },
}

impl TaskSyscall {
    /// Parses the line.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first field that is not as the kernel writes it.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut words = words(text);
        let first = words.next().unwrap_or_default();
        let mut next = |what| prefixed_hex_u64(words.next().unwrap_or_default(), what);
        let parsed = if first == b"running" {
            Self::Running
        } else {
            match dec_i32(first, "system call number")? {
                nr @ ..0 => Self::Outside {
                    nr,
                    sp: next("stack pointer")?,
                    pc: next("program counter")?,
                },
                nr => {
                    let mut args = [0; 6];
                    for arg in &mut args {
                        *arg = next("argument")?;
                    }
                    Self::Blocked {
                        nr,
                        args,
                        sp: next("stack pointer")?,
                        pc: next("program counter")?,
                    }
                }
            }
        };
        match words.next() {
            None => Ok(parsed),
            Some(_) => Err(Malformed::Unexpected("end of the line")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn captured_lines() {
        assert_eq!(TaskSyscall::parse(b"running\n"), Ok(TaskSyscall::Running));
        let text = b"0 0x3 0x7f0e09f96000 0x20000 0x7f0e0a029b60 0xffffffff 0x0 0x7ffda0de74a8 0x7f0e0a1122ad\n";
        assert_eq!(
            TaskSyscall::parse(text),
            Ok(TaskSyscall::Blocked {
                nr: 0,
                args: [
                    3,
                    0x7f0e_09f9_6000,
                    0x20000,
                    0x7f0e_0a02_9b60,
                    0xffff_ffff,
                    0
                ],
                sp: 0x7ffd_a0de_74a8,
                pc: 0x7f0e_0a11_22ad,
            })
        );
        let text = b"-1 0x7ffda0de74a8 0x7f0e0a1122ad\n";
        let outside = TaskSyscall::Outside {
            nr: -1,
            sp: 0x7ffd_a0de_74a8,
            pc: 0x7f0e_0a11_22ad,
        };
        assert_eq!(TaskSyscall::parse(text), Ok(outside));
    }

    #[test]
    fn wrong_lines() {
        for (text, kind) in [
            (&b""[..], Malformed::Missing("system call number")),
            (b"walking", Malformed::NotANumber("system call number")),
            (b"running 1", Malformed::Unexpected("end of the line")),
            (b"1 0x1", Malformed::Missing("argument")),
            (b"-1 0x1 2", Malformed::NotANumber("program counter")),
            (b"-1 0x1 0x2 0x3", Malformed::Unexpected("end of the line")),
        ] {
            assert_eq!(TaskSyscall::parse(text), Err(kind));
        }
    }

    proptest! {
        #[test]
        fn round_trip(nr in 0..i32::MAX, args in any::<[u64; 6]>(), sp in any::<u64>(), pc in any::<u64>()) {
            let words: String = args.iter().map(|arg| format!(" {arg:#x}")).collect();
            let text = format!("{nr}{words} {sp:#x} {pc:#x}\n");
            prop_assert_eq!(
                TaskSyscall::parse(text.as_bytes()),
                Ok(TaskSyscall::Blocked { nr, args, sp, pc })
            );
        }

        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = TaskSyscall::parse(&text);
        }
    }
}
