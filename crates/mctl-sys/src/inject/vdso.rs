//! Where the `syscall` instruction of a target's vDSO is.
//!
//! Every 64-bit process of a kernel maps the same vDSO image, at an address of its own. So the
//! instruction's offset is looked up once in our own copy, and the target's base address comes
//! from its auxiliary vector.

use std::sync::OnceLock;

use crate::arch::{Arch, Native};
use crate::procfs::auxv::{AT_SYSINFO_EHDR, Auxv, Width};
use crate::raw::vm::read_memory;

use super::files::read_small;

/// The vDSO is one or two pages; what lies behind it is not read (the kernel stops at a gap).
const LOOK_AT: usize = 16 * 1024;

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

/// The offset of a system-call instruction in the vDSO image of this kernel.
fn offset() -> Option<u64> {
    static OFFSET: OnceLock<Option<u64>> = OnceLock::new();
    *OFFSET.get_or_init(|| {
        let mut auxv = [0u8; 1024];
        let base = base_in(read_small("/proc/self/auxv", &mut auxv).ok()?)?;
        let mut image = vec![0u8; LOOK_AT];
        let pid = i32::try_from(std::process::id()).ok()?;
        let mut len = read_memory(pid, base, &mut image).ok()?;
        // Only the file's own first segment: behind it other mappings may follow.
        len = len.min(image_len(&image)?);
        find_insn(image.get(..len)?)
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

/// The address of a system-call instruction in the target's vDSO, verified by reading it there.
pub(super) fn syscall_insn(pid: i32, auxv: &[u8]) -> Option<u64> {
    let at = base_in(auxv)?.checked_add(offset()?)?;
    let insn = Native::SYSCALL_INSN;
    let mut bytes = [0u8; 4];
    let there = bytes.get_mut(..insn.len())?;
    let read = read_memory(pid, at, there).ok()?;
    (read == insn.len() && there == insn).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_vdso_has_one() {
        let auxv = std::fs::read("/proc/self/auxv").unwrap();
        let at = syscall_insn(i32::try_from(std::process::id()).unwrap(), &auxv).unwrap();
        assert!(at > base_in(&auxv).unwrap());
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
        assert_eq!(syscall_insn(1, &[0; 16]), None);
    }
}
