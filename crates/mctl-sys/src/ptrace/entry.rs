//! What a thread that has stopped at a system call is about to do, as the kernel tells it.
//!
//! A resumed thread runs whatever its instruction pointer points at, and in a hostile program that is
//! not what was there a moment ago. So no call made on a thread counts as ours before the kernel has
//! said, at its entry stop, that it is the one that was asked for. From there on only the tracer can
//! change it: what the kernel runs is what the registers say when the thread is let go.

use mctl_abi::Errno;

use super::raw;

/// A call of this machine's own kind, at its entry stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The call's number.
    pub(crate) number: u64,
    /// Its six arguments.
    pub(crate) args: [u64; 6],
    /// Behind the instruction that made it.
    pub(crate) ip: u64,
    /// The stack pointer.
    pub(crate) sp: u64,
}

/// `AUDIT_ARCH_*` of this machine's own calls (include/uapi/linux/audit.h). An `int $0x80` is two
/// bytes long, as `syscall` is, and means another table.
const NATIVE: u64 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else {
    0xc000_00b7
};
/// `PTRACE_SYSCALL_INFO_ENTRY`.
const OP_ENTRY: u64 = 1;

impl Entry {
    /// The entry that the thread stands at. `None`: it stands at none, or at a call of another kind.
    ///
    /// # Errors
    /// `ESRCH`: it has ended. `EIO`: a kernel that cannot tell (before Linux 5.3); nothing may be
    /// taken for granted there.
    pub(crate) fn of(tid: i32) -> Result<Option<Entry>, Errno> {
        raw::syscall_info(tid).map(|words| decode(&words))
    }
}

fn decode(words: &[u64; 12]) -> Option<Entry> {
    let [head, ip, sp, number, a, b, c, d, e, f, ..] = *words;
    (head >> 32 == NATIVE && head & 0xff == OP_ENTRY).then_some(Entry {
        number,
        args: [a, b, c, d, e, f],
        ip,
        sp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_entry_of_this_machines_calls() {
        let stop = |op: u64, arch: u64| decode(&[op | arch << 32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0]);
        let entry = Entry {
            number: 3,
            args: [4, 5, 6, 7, 8, 9],
            ip: 1,
            sp: 2,
        };
        assert_eq!(stop(OP_ENTRY, NATIVE), Some(entry));
        for op in [0, 2, 3] {
            assert_eq!(stop(op, NATIVE), None, "{op}");
        }
        assert_eq!(stop(OP_ENTRY, 0x4000_0003), None, "i386");
    }
}
