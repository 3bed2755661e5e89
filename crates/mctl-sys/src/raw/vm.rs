//! Reading and writing another process's memory.

use mctl_abi::Errno;

use super::checked;

/// Reads from a target's memory into `into`; returns how many bytes came (short at an unmapped
/// page).
///
/// # Errors
/// As process_vm_readv(2): `EFAULT` nothing mapped there, `EPERM`, `ESRCH`.
pub fn read_memory(pid: i32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = remote(address, into.len());
    // SAFETY: the local iovec describes `into`, which is exclusively ours; the remote one is only
    // a number to the kernel.
    let read =
        || unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    let ret = crate::bounded::may_wait(read);
    checked(ret as libc::c_long).map(|n| usize::try_from(n).unwrap_or(0))
}

/// Writes into this process's own memory at an address that someone outside Rust gave, and
/// answers `EFAULT` where it cannot be written, as a system call does.
///
/// # Errors
/// `EFAULT`, also where only a part could be written; `ENOSYS` or `EPERM` where the kernel or a
/// seccomp filter does not let us.
///
/// # Safety
/// The bytes are free to be written: they belong to no Rust value but one that any bytes may
/// replace, and no other thread uses them meanwhile.
pub unsafe fn write_own_memory(address: u64, from: &[u8]) -> Result<(), Errno> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    match write_memory(own, address, from)? {
        written if written == from.len() => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Writes into a target's memory. Only the injector does so, and only into memory that it mapped
/// there itself, and [`write_own_memory`].
pub(crate) fn write_memory(pid: i32, address: u64, from: &[u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: from.len(),
    };
    let remote = remote(address, from.len());
    // SAFETY: the local iovec describes `from`, which the kernel only reads.
    let write =
        || unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    let ret = crate::bounded::may_wait(write);
    checked(ret as libc::c_long).map(|n| usize::try_from(n).unwrap_or(0))
}

fn remote(address: u64, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::without_provenance_mut(usize::try_from(address).unwrap_or(usize::MAX)),
        iov_len: len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ourselves() {
        let secret = *b"mctl reads this";
        let mut got = [0u8; 15];
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(read_memory(pid, secret.as_ptr() as u64, &mut got), Ok(15));
        assert_eq!(got, secret);
        assert_eq!(read_memory(pid, 0, &mut got), Err(Errno::EFAULT));
        assert_eq!(read_memory(i32::MAX, 0, &mut got), Err(Errno::ESRCH));
    }

    #[test]
    fn writes_ourselves() {
        let mut room = [0u8; 4];
        let address = room.as_mut_ptr().expose_provenance() as u64;
        // SAFETY: an array of bytes that only this thread knows.
        assert_eq!(unsafe { write_own_memory(address, b"mctl") }, Ok(()));
        assert_eq!(room, *b"mctl");
        // SAFETY: nothing is mapped at 0.
        assert_eq!(unsafe { write_own_memory(0, b"mctl") }, Err(Errno::EFAULT));
    }
}
