//! Instructions by which a target can be made to enter the kernel: that of its vDSO, or the one by which a thread of
//! it did so itself.
//!
//! Every 64-bit process of a kernel maps the same vDSO image, at an address of its own. A program may move it, unmap
//! it, map something else in its place, take its permissions away and write into its copy. So it is found by the
//! kernel's own name for the mapping, must be executable, and its code must be ours, byte for byte. Memory that
//! is not the vDSO by that name is not read: it may be such that reading it never ends.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use mctl_abi::Errno;

use crate::arch::{Arch, Native};
use crate::bounded::ProcFile;
use crate::procfs::auxv::{AT_SYSINFO_EHDR, Auxv, Width};
use crate::raw::procmap::query_named;
use crate::raw::vm::read_memory;
use crate::remembered::Remembered;

use super::files::read_small;

/// The vDSO is one or two pages; what lies behind it is not read (the kernel stops at a gap).
const LOOK_AT: usize = 16 * 1024;
const NAME: &[u8] = b"[vdso]";
const EXECUTABLE: u64 = 4;

fn base_in(auxv: &[u8]) -> Option<u64> {
    let auxv = Auxv::parse(auxv).ok()?;
    // A 32-bit process has a 32-bit vDSO: its image is another one.
    if auxv.width() != Width::W64 {
        return None;
    }
    auxv.get(AT_SYSINFO_EHDR).filter(|base| *base != 0)
}

/// Whether the auxiliary vector is a 32-bit process's.
pub(super) fn is_32bit(auxv: &[u8]) -> bool {
    Auxv::parse(auxv).is_ok_and(|auxv| auxv.width() == Width::W32)
}

/// The image of this kernel's vDSO, up to the end of its code, and the offset of a system-call instruction in it.
struct Image {
    bytes: Vec<u8>,
    insn: u64,
}

fn image() -> Option<Arc<Image>> {
    static IMAGE: Remembered<Option<Arc<Image>>> = Remembered::new();
    IMAGE.get_or_find(|| {
        let mut auxv = [0u8; 1024];
        let base = base_in(read_small("/proc/self/auxv", &mut auxv).ok()?)?;
        let mut bytes = vec![0u8; LOOK_AT];
        let len = read_memory(crate::bounded::our_pid(), base, &mut bytes).ok()?;
        // Only the file's own first segment: behind it other mappings may follow.
        bytes.truncate(len.min(image_len(&bytes)?));
        let insn = find_insn(&bytes)?;
        Some(Arc::new(Image { bytes, insn }))
    })
}

/// Bytes of the image's executable segment, from its ELF program headers.
fn image_len(image: &[u8]) -> Option<usize> {
    let u16_at = |at: usize| {
        Some(usize::from(u16::from_le_bytes(
            image.get(at..at + 2)?.try_into().ok()?,
        )))
    };
    let u64_at = |at: usize| {
        usize::try_from(u64::from_le_bytes(image.get(at..at + 8)?.try_into().ok()?)).ok()
    };
    if image.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let (table, entry, count) = (u64_at(32)?, u16_at(54)?, u16_at(56)?);
    for header in 0..count {
        let at = table.checked_add(header.checked_mul(entry)?)?;
        let load = image.get(at..at.checked_add(4)?)? == [1, 0, 0, 0];
        let executable = image.get(at.checked_add(4)?)? & 1 != 0;
        if load && executable {
            return u64_at(at.checked_add(8)?)?.checked_add(u64_at(at.checked_add(32)?)?);
        }
    }
    None
}

fn find_insn(image: &[u8]) -> Option<u64> {
    let insn = Native::SYSCALL_INSN;
    let step = if insn.len() == 4 { 4 } else { 1 };
    (0..image.len().checked_sub(insn.len())?)
        .step_by(step)
        .find(|at| image.get(*at..*at + insn.len()) == Some(insn))
        .and_then(|at| u64::try_from(at).ok())
}

/// Where a target offers an instruction that enters the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Insn {
    /// In its vDSO, which is the kernel's.
    pub(super) vdso: Option<u64>,
    /// Where the best thread is in a call: that by which it went there.
    pub(super) own: Option<u64>,
}

/// Looks for them. `pc` tells the address behind the instruction by which the thread entered the kernel.
pub(super) fn find(pid: i32, tid: i32, auxv: &[u8], pc: impl FnOnce() -> Option<u64>) -> Insn {
    let path = format!("/proc/{pid}/task/{tid}/maps");
    let Ok(maps) = ProcFile::open(&path) else {
        return Insn::default();
    };
    let vdso = in_vdso(&maps, &path, tid, base_in(auxv));
    // Only where it is needed.
    let own = match vdso {
        Some(_) => None,
        None => pc().and_then(|pc| own_insn(&maps, &path, tid, pc)),
    };
    Insn { vdso, own }
}

fn in_vdso(maps: &ProcFile, path: &str, tid: i32, hint: Option<u64>) -> Option<u64> {
    let image = image()?;
    let is_vdso = |mapping: &Mapping| mapping.name_is_vdso && mapping.executable;
    let hinted = hint.and_then(|base| mapping_at(maps.as_fd(), path, base).filter(is_vdso));
    // It may have been moved.
    let mapping = match hinted {
        Some(mapping) => mapping,
        None => in_text(path, |mapping| mapping.name_is_vdso).filter(is_vdso)?,
    };
    let mut bytes = [0u8; LOOK_AT];
    let there = bytes.get_mut(..image.bytes.len())?;
    let fits = mapping.end.saturating_sub(mapping.start) >= there.len() as u64;
    let read = fits.then(|| read_memory(tid, mapping.start, there).ok())??;
    (read == there.len() && there == image.bytes).then(|| mapping.start.wrapping_add(image.insn))
}

/// Whether a mapping of that name is at an address. Memory that is not the kernel's own may be such that reading it never ends.
pub(super) fn is_at(pid: i32, tid: i32, address: u64) -> bool {
    let path = format!("/proc/{pid}/task/{tid}/maps");
    ProcFile::open(&path)
        .ok()
        .and_then(|maps| mapping_at(maps.as_fd(), &path, address))
        .is_some_and(|mapping| mapping.name_is_vdso)
}

fn own_insn(maps: &ProcFile, path: &str, tid: i32, pc: u64) -> Option<u64> {
    let insn = Native::SYSCALL_INSN;
    let at = pc.checked_sub(insn.len() as u64)?;
    let mapping = mapping_at(maps.as_fd(), path, at)?;
    // A file's, so that reading it is at worst slow. (Such reading has its bound.)
    if !mapping.executable || mapping.inode == 0 || pc > mapping.end {
        return None;
    }
    let mut bytes = [0u8; 4];
    let there = bytes.get_mut(..insn.len())?;
    let read = read_memory(tid, at, there).ok()?;
    (read == insn.len() && there == insn).then_some(at)
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    executable: bool,
    inode: u64,
    name_is_vdso: bool,
}

/// The mapping at an address: one question to the kernel, or where it does not take it (before Linux 6.11) the text.
fn mapping_at(maps: BorrowedFd<'_>, path: &str, address: u64) -> Option<Mapping> {
    let mut name = [0u8; 8];
    let ask = |name: &mut [u8]| query_named(maps, address, 0, name);
    let (found, named) = match ask(&mut name) {
        Ok(found) => (found, true),
        // A longer name than that of the vDSO.
        Err(Errno::ENAMETOOLONG) => (ask(&mut []).ok()?, false),
        Err(Errno::ENOTTY) => {
            return in_text(path, |mapping| {
                (mapping.start..mapping.end).contains(&address)
            });
        }
        Err(_) => return None,
    };
    let size = usize::try_from(found.vma_name_size).unwrap_or(0);
    Some(Mapping {
        start: found.vma_start,
        end: found.vma_end,
        executable: found.vma_flags & EXECUTABLE != 0,
        inode: found.inode,
        name_is_vdso: named && name.get(..size.saturating_sub(1)) == Some(NAME),
    })
}

fn in_text(path: &str, wanted: impl Fn(&Mapping) -> bool) -> Option<Mapping> {
    let mut reader = crate::procfs::maps::MapsReader::new(ProcFile::open(path).ok()?);
    while let Ok(Some(entry)) = reader.next_line() {
        let mapping = Mapping {
            start: entry.start,
            end: entry.end,
            executable: entry.perms.exec,
            inode: entry.inode,
            name_is_vdso: entry.name == NAME,
        };
        if wanted(&mapping) {
            return Some(mapping);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_vdso_has_one() {
        let auxv = std::fs::read("/proc/self/auxv").unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = find(pid, pid, &auxv, || None);
        let base = base_in(&auxv).unwrap();
        assert_eq!(found.vdso, Some(base + image().unwrap().insn));
        // Without the hint by its name.
        assert_eq!(find(pid, pid, &[], || None), found);
        // Somewhere else in the image there is no such instruction.
        assert_eq!(find(pid, pid, &auxv, || Some(base + 2)).own, None);
    }

    #[test]
    fn nonsense_is_no_image() {
        for image in [
            &b""[..],
            b"\x7fELF\x02",
            b"\x7fELF\x01aaaaaaaaaaaaaaaaaaaaaaaaaa",
            &[0xff; 4096],
        ] {
            assert_eq!(image_len(image), None);
        }
        assert_eq!(find_insn(&[]), None);
        assert_eq!(find(i32::MAX, i32::MAX, &[0; 16], || None), Insn::default());
    }
}
