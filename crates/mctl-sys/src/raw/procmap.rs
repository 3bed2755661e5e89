//! `PROCMAP_QUERY`: one VMA by address, without text. It carries permission bits only: the THP and
//! KSM advice needs smaps.

use std::os::fd::{AsRawFd, BorrowedFd};

use mctl_abi::Errno;

use super::checked;

/// `struct procmap_query` (include/uapi/linux/fs.h, Linux 6.11).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcmapQuery {
    /// Size of this structure.
    pub size: u64,
    /// `PROCMAP_QUERY_*` in.
    pub query_flags: u64,
    /// Address asked for.
    pub query_addr: u64,
    /// First byte of the VMA.
    pub vma_start: u64,
    /// First byte after it.
    pub vma_end: u64,
    /// Readable 1, writable 2, executable 4, shared 8.
    pub vma_flags: u64,
    /// Page size of the VMA in bytes.
    pub vma_page_size: u64,
    /// Offset in the file.
    pub vma_offset: u64,
    /// Inode, 0 for anonymous memory.
    pub inode: u64,
    /// Device.
    pub dev_major: u32,
    /// Device.
    pub dev_minor: u32,
    /// Room for the name in, length with its NUL out.
    pub vma_name_size: u32,
    /// Room for the build ID in, length out.
    pub build_id_size: u32,
    /// Where the name goes.
    pub vma_name_addr: u64,
    /// Where the build ID goes.
    pub build_id_addr: u64,
}

/// Take the VMA that covers the address, or the next one above it.
pub const COVERING_OR_NEXT_VMA: u64 = 0x10;

/// `_IOWR('f', 17, struct procmap_query)`.
const PROCMAP_QUERY: libc::c_ulong = (3 << 30)
    | ((size_of::<ProcmapQuery>() as libc::c_ulong) << 16)
    | ((b'f' as libc::c_ulong) << 8)
    | 17;

/// Asks an open `/proc/PID/maps` for the VMA at (or, with [`COVERING_OR_NEXT_VMA`], above) an
/// address.
///
/// # Errors
/// `ENOENT` no such VMA; `ENOTTY` before Linux 6.11; `ESRCH` the address space is gone.
pub fn query(maps: BorrowedFd<'_>, address: u64, flags: u64) -> Result<ProcmapQuery, Errno> {
    query_named(maps, address, flags, &mut [])
}

/// The same, and the VMA's name, as the text has it: `vma_name_size` bytes with its NUL, 0 where it has none.
///
/// # Errors
/// As [`query`]; `ENAMETOOLONG`: the room is too small for the name.
pub fn query_named(
    maps: BorrowedFd<'_>,
    address: u64,
    flags: u64,
    name: &mut [u8],
) -> Result<ProcmapQuery, Errno> {
    let mut query = ProcmapQuery {
        size: size_of::<ProcmapQuery>() as u64,
        query_flags: flags,
        query_addr: address,
        vma_name_size: u32::try_from(name.len()).unwrap_or(u32::MAX),
        vma_name_addr: match name.is_empty() {
            true => 0,
            false => name.as_mut_ptr().expose_provenance() as u64,
        },
        ..ProcmapQuery::default()
    };
    // SAFETY: the structure has the size that the request declares, and the room for the name the one that it
    // says; no build ID buffer is given, so the kernel writes nothing else.
    let ask = || unsafe { libc::ioctl(maps.as_raw_fd(), PROCMAP_QUERY, &raw mut query) };
    let ret = crate::bounded::call_on(maps.as_raw_fd(), ask)?;
    checked(libc::c_long::from(ret))?;
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;
    use std::os::fd::AsFd;

    #[test]
    fn layout() {
        assert_eq!(size_of::<ProcmapQuery>(), 104);
        assert_eq!(offset_of!(ProcmapQuery, vma_start), 24);
        assert_eq!(offset_of!(ProcmapQuery, dev_major), 72);
        assert_eq!(offset_of!(ProcmapQuery, vma_name_addr), 88);
    }

    #[test]
    fn finds_our_own_stack_and_agrees_with_maps() {
        let here = 0u8;
        let address = &raw const here as u64;
        let maps = std::fs::File::open("/proc/self/maps").unwrap();
        match query(maps.as_fd(), address, 0) {
            Ok(vma) => {
                assert!(vma.vma_start <= address && address < vma.vma_end);
                assert_eq!(vma.vma_flags & 3, 3);
                let text = std::fs::read_to_string("/proc/self/maps").unwrap();
                let edge = format!("{:x}-", vma.vma_start);
                assert!(text.lines().any(|line| line.starts_with(&edge)));
            }
            Err(errno) => assert_eq!(errno, Errno::ENOTTY, "before 6.11"),
        }
        let mut name = [0u8; 16];
        if let Ok(vma) = query_named(maps.as_fd(), address, 0, &mut name) {
            // A test's thread has a stack without a name.
            assert!(vma.vma_name_size == 0 || name.starts_with(b"["));
        }
        match query(maps.as_fd(), 0, 0) {
            Ok(_) => panic!("page 0 is not mapped"),
            Err(errno) => assert!([Errno::ENOENT, Errno::ENOTTY].contains(&errno)),
        }
    }
}
