//! What PTRACE_GET_SYSCALL_INFO says of a stopped tracee.

use std::io;

use super::{Event, Tid, ptrace};

/// `AUDIT_ARCH_*` of this machine's own calls (include/uapi/linux/audit.h): a 32-bit program on
/// the same kernel has other numbers.
const NATIVE: u64 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else {
    0xc000_00b7
};

/// Marks of a call that the kernel will restart or turn into EINTR (include/linux/errno.h):
/// ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK.
const INTERRUPTED: [i64; 4] = [-512, -513, -514, -516];

/// `None` for a call of another architecture, and for a stop at no call.
pub(super) fn info(tid: Tid) -> io::Result<Option<Event>> {
    // op and arch, ip, sp, then number and arguments, or value and error mark.
    let mut words = [0u64; 12];
    let size = std::mem::size_of_val(&words);
    match ptrace(
        libc::PTRACE_GET_SYSCALL_INFO,
        tid,
        size,
        words.as_mut_ptr().expose_provenance(),
    ) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        other => other?,
    };
    Ok(decode(&words))
}

fn decode(words: &[u64; 12]) -> Option<Event> {
    let [head, _, _, first, a, b, c, d, e, f, ..] = *words;
    if head >> 32 != NATIVE {
        return None;
    }
    match head & 0xff {
        1 | 3 => Some(Event::Entry {
            number: first,
            args: [a, b, c, d, e, f],
        }),
        2 if INTERRUPTED.contains(&first.cast_signed()) => Some(Event::Interrupted),
        2 => Some(Event::Exit {
            value: first.cast_signed(),
            error: a & 0xff != 0,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_told_apart() {
        let stop = |op: u64, first: i64, a: u64| {
            decode(&[
                op | NATIVE << 32,
                1,
                2,
                first.cast_unsigned(),
                a,
                5,
                6,
                7,
                8,
                9,
                0,
                0,
            ])
        };
        let args = [4, 5, 6, 7, 8, 9];
        assert_eq!(stop(1, 151, 4), Some(Event::Entry { number: 151, args }));
        assert_eq!(stop(3, 151, 4), Some(Event::Entry { number: 151, args }));
        let exit = |value, error| Some(Event::Exit { value, error });
        assert_eq!(stop(2, 0, 0), exit(0, false));
        assert_eq!(stop(2, -22, 1), exit(-22, true));
        assert_eq!(stop(2, -515, 1), exit(-515, true));
        for mark in [-512, -513, -514, -516] {
            assert_eq!(stop(2, mark, 1), Some(Event::Interrupted));
        }
        assert_eq!(stop(0, 0, 0), None);
    }

    #[test]
    fn another_architectures_calls_are_not_ours() {
        let i386 = 0x4000_0003_u64;
        assert_eq!(
            decode(&[1 | i386 << 32, 0, 0, 151, 4, 0, 0, 0, 0, 0, 0, 0]),
            None
        );
    }
}
