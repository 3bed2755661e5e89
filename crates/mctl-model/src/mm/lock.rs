//! mlock(2), mlock2(2), munlock(2), mlockall(2), munlockall(2).

use mctl_abi::Errno;

use super::{Cx, LockMode, Mm};
use crate::creds::Caps;
use crate::mutant::Mutant;
use crate::vma::{VmFlags, Vma};
use crate::{PAGE, page_align};

/// `MCL_CURRENT`.
pub(crate) const MCL_CURRENT: u32 = 1;
/// `MCL_FUTURE`.
pub(crate) const MCL_FUTURE: u32 = 2;
/// `MCL_ONFAULT`.
pub(crate) const MCL_ONFAULT: u32 = 4;

impl Mm {
    fn can_lock(cx: &Cx<'_>) -> bool {
        cx.limits.memlock != 0 || cx.caps.has(Caps::IPC_LOCK)
    }

    /// mlock(2), and with `onfault` mlock2(2) with `MLOCK_ONFAULT`. Order of checks:
    /// `do_mlock()`, mm/mlock.c.
    pub(crate) fn mlock(
        &mut self,
        cx: &mut Cx<'_>,
        start: u64,
        len: u64,
        onfault: bool,
    ) -> Result<(), Errno> {
        if !Mm::can_lock(cx) {
            return Err(Errno::EPERM);
        }
        let (start, len) = lock_range(start, len);
        let limit = cx.limits.memlock / PAGE;
        let pages = len / PAGE;
        let mut locked = pages.saturating_add(self.locked_pages());
        let counts_twice = self.mutant == Some(Mutant::LockCountsTwice);
        if locked > limit && !cx.caps.has(Caps::IPC_LOCK) && !counts_twice {
            // What is locked already is not counted twice.
            locked -= self.locked_in(start, start.saturating_add(len));
        }
        if locked > limit && !cx.caps.has(Caps::IPC_LOCK) {
            return Err(Errno::ENOMEM);
        }
        let flags = if onfault {
            VmFlags::LOCK_MASK
        } else {
            VmFlags::LOCKED
        };
        self.lock_range(cx, start, len, flags)?;
        match self.populate_strictly(cx, start, start + len) {
            Ok(()) => Ok(()),
            // __mlock_posix_error_return()
            // A page beyond the object's end counts as a bad address.
            Err(Errno::EFAULT | Errno::ENXIO) => Err(Errno::ENOMEM),
            Err(Errno::ENOMEM) => Err(Errno::EAGAIN),
            Err(other) => Err(other),
        }
    }

    /// munlock(2). It asks for no permission.
    pub(crate) fn munlock(&mut self, cx: &mut Cx<'_>, start: u64, len: u64) -> Result<(), Errno> {
        let (start, len) = lock_range(start, len);
        self.lock_range(cx, start, len, VmFlags::NONE)
    }

    /// `apply_vma_lock_flags()`: stops at the first gap; what came before stays changed.
    fn lock_range(
        &mut self,
        cx: &mut Cx<'_>,
        start: u64,
        len: u64,
        flags: VmFlags,
    ) -> Result<(), Errno> {
        let Some(end) = start.checked_add(len) else {
            return Err(Errno::EINVAL);
        };
        let mut cursor = start;
        while cursor < end {
            let Some(vma) = self.vmas.at(cursor).copied() else {
                return Err(Errno::ENOMEM);
            };
            let part = vma.part(cursor, vma.end.min(end));
            self.lock_part(cx, &part, flags)?;
            cursor = part.end;
        }
        Ok(())
    }

    /// `mlock_fixup()`.
    fn lock_part(&mut self, cx: &Cx<'_>, part: &Vma, flags: VmFlags) -> Result<(), Errno> {
        if !part.supports_mlock() {
            return Ok(());
        }
        let new = part.flags.without(VmFlags::LOCK_MASK) | flags;
        self.set_flags(cx, part.start, part.end, new)
    }

    /// mlockall(2). Order of checks: the system call in mm/mlock.c.
    pub(crate) fn mlockall(&mut self, cx: &mut Cx<'_>, flags: u32) -> Result<(), Errno> {
        let known = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT;
        if flags == 0 || flags & !known != 0 || flags == MCL_ONFAULT {
            return Err(Errno::EINVAL);
        }
        if !Mm::can_lock(cx) {
            return Err(Errno::EPERM);
        }
        let current = flags & MCL_CURRENT != 0;
        if current
            && !cx.caps.has(Caps::IPC_LOCK)
            && self.vmas.sum().weights[0] > cx.limits.memlock / PAGE
        {
            return Err(Errno::ENOMEM);
        }
        let mode = if flags & MCL_ONFAULT != 0 {
            LockMode::OnFault
        } else {
            LockMode::Locked
        };
        self.def_lock = if flags & MCL_FUTURE != 0 {
            mode
        } else {
            LockMode::None
        };
        if current {
            self.lock_all(cx, mode.flags());
            self.populate(cx, 0, crate::TASK_SIZE);
        }
        Ok(())
    }

    /// munlockall(2). It asks for no permission.
    pub(crate) fn munlockall(&mut self, cx: &mut Cx<'_>) {
        self.def_lock = LockMode::None;
        self.lock_all(cx, VmFlags::NONE);
    }

    /// `apply_mlockall_flags()`: errors of single mappings are ignored.
    fn lock_all(&mut self, cx: &mut Cx<'_>, flags: VmFlags) {
        let done = self.walk(0, crate::TASK_SIZE, |mm, part| {
            mm.lock_part(cx, &part, flags).ok();
            Ok(())
        });
        done.ok();
    }
}

/// Whole pages around a range; an overflow wraps to nothing, as in the kernel.
fn lock_range(start: u64, len: u64) -> (u64, u64) {
    let len = len
        .checked_add(start % PAGE)
        .and_then(page_align)
        .unwrap_or(0);
    (start & !(PAGE - 1), len)
}
