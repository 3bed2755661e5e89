//! mprotect(2).

use mctl_abi::Errno;

use super::{Cx, Mm};
use crate::vma::{VmFlags, Vma};
use crate::{PAGE, page_align};

impl Mm {
    /// mprotect(2). The order of checks is that of `do_mprotect_pkey()` (mm/mprotect.c); what was
    /// done before an error stays done.
    pub(crate) fn mprotect(
        &mut self,
        cx: &mut Cx<'_>,
        start: u64,
        len: u64,
        prot: VmFlags,
        growsdown: bool,
    ) -> Result<(), Errno> {
        if !start.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let len = page_align(len).unwrap_or(0);
        let end = match start.checked_add(len) {
            Some(end) if end > start => end,
            _ => return Err(Errno::ENOMEM),
        };
        let mut start = start;
        let first = self.vmas.find(start).copied().filter(|vma| vma.start < end);
        let Some(first) = first else {
            return Err(Errno::ENOMEM);
        };
        if growsdown {
            start = first.start;
            if !first.flags.has(VmFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
        } else if first.start > start {
            return Err(Errno::ENOMEM);
        }
        let (mut vma, mut cursor) = (first, start);
        loop {
            let part = vma.part(cursor, vma.end.min(end));
            self.protect_part(cx, &part, prot)?;
            cursor = part.end;
            if cursor >= end {
                return Ok(());
            }
            vma = self.vmas.at(cursor).copied().ok_or(Errno::ENOMEM)?;
        }
    }

    /// `mprotect_fixup()`.
    fn protect_part(&mut self, cx: &mut Cx<'_>, part: &Vma, prot: VmFlags) -> Result<(), Errno> {
        let old = part.flags;
        if prot.has(VmFlags::WRITE) && !old.has(VmFlags::MAYWRITE) {
            return Err(Errno::EACCES);
        }
        let mut new = old.without(VmFlags::ACCESS) | prot & VmFlags::ACCESS;
        if new == old {
            return Ok(());
        }
        let exempt = VmFlags::ACCOUNT
            | VmFlags::WRITE
            | VmFlags::HUGETLB
            | VmFlags::SHARED
            | VmFlags::NORESERVE;
        if new.has(VmFlags::WRITE) && !old.any(exempt) {
            new = new | VmFlags::ACCOUNT;
        } else if old.has(VmFlags::ACCOUNT)
            && !new.has(VmFlags::WRITE)
            && part.is_anon()
            && part.anon == 0
        {
            // Memory that was never written gives its share of the commit limit back.
            new = new.without(VmFlags::ACCOUNT);
        }
        self.set_flags(cx, part.start, part.end, new)?;
        let was = old & (VmFlags::WRITE | VmFlags::SHARED | VmFlags::LOCKED);
        if was == VmFlags::LOCKED && new.has(VmFlags::WRITE) {
            // Locked memory that becomes writable gets its own pages at once.
            self.populate(cx, part.start, part.end);
        }
        Ok(())
    }
}
