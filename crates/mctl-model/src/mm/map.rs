//! mmap(2) and munmap(2).

use mctl_abi::{Errno, PolicyKind};

use super::zap::Why;
use super::{Cx, Mm};
use crate::cache::FileInfo;
use crate::creds::Caps;
use crate::mutant::Mutant;
use crate::vma::{Backing, FileId, VmFlags, Vma};
use crate::{HUGE, MMAP_MIN, PAGE, TASK_SIZE, page_align};

/// What is to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapSource {
    /// `MAP_ANONYMOUS`.
    Anon,
    /// `MAP_ANONYMOUS | MAP_HUGETLB`.
    Hugetlb,
    /// A file, from a byte offset.
    File {
        /// The file.
        file: FileId,
        /// Offset in bytes.
        offset: u64,
    },
}

/// The arguments of mmap(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapArgs {
    /// The hint, or with `fixed` and `noreplace` the address.
    pub addr: u64,
    /// Size in bytes.
    pub len: u64,
    /// `PROT_READ`, `PROT_WRITE`, `PROT_EXEC` as `VmFlags`.
    pub prot: VmFlags,
    /// `MAP_SHARED` rather than `MAP_PRIVATE`.
    pub shared: bool,
    /// `MAP_FIXED`.
    pub fixed: bool,
    /// `MAP_FIXED_NOREPLACE`.
    pub noreplace: bool,
    /// `MAP_GROWSDOWN`.
    pub growsdown: bool,
    /// `MAP_LOCKED`.
    pub locked: bool,
    /// `MAP_POPULATE`.
    pub populate: bool,
    /// `MAP_NORESERVE`.
    pub noreserve: bool,
    /// `MAP_STACK`.
    pub stack: bool,
    /// What.
    pub source: MapSource,
}

impl MapArgs {
    /// Private anonymous memory, readable and writable, with `addr` as a hint.
    #[must_use]
    pub const fn anon(addr: u64, len: u64) -> MapArgs {
        MapArgs {
            addr,
            len,
            prot: VmFlags::ACCESS.without(VmFlags::EXEC),
            shared: false,
            fixed: false,
            noreplace: false,
            growsdown: false,
            locked: false,
            populate: false,
            noreserve: false,
            stack: false,
            source: MapSource::Anon,
        }
    }

    /// With `MAP_FIXED`.
    #[must_use]
    pub const fn fixed(mut self) -> MapArgs {
        self.fixed = true;
        self
    }
}

impl Mm {
    /// mmap(2). The order of checks is that of `ksys_mmap_pgoff()` and `do_mmap()` (mm/mmap.c).
    pub(crate) fn mmap(&mut self, cx: &mut Cx<'_>, args: &MapArgs) -> Result<u64, Errno> {
        let offset = match args.source {
            MapSource::File { offset, .. } => offset,
            MapSource::Anon | MapSource::Hugetlb => 0,
        };
        // arch/x86: the offset is looked at before anything else.
        if offset % PAGE != 0 {
            return Err(Errno::EINVAL);
        }
        let file = match args.source {
            MapSource::File { file, .. } => Some(cx.cache.file(file).ok_or(Errno::EBADF)?.clone()),
            MapSource::Anon | MapSource::Hugetlb => None,
        };
        if args.len == 0 {
            return Err(Errno::EINVAL);
        }
        // hugetlb's length is made whole before anything else, and is 0 where that overflows.
        let len = match args.source {
            MapSource::Hugetlb => args
                .len
                .checked_next_multiple_of(HUGE)
                .ok_or(Errno::EINVAL)?,
            MapSource::Anon | MapSource::File { .. } => {
                page_align(args.len).ok_or(Errno::ENOMEM)?
            }
        };
        if (offset / PAGE).checked_add(len / PAGE).is_none() {
            return Err(Errno::EOVERFLOW);
        }
        if self.map_count() > cx.knobs.max_map_count {
            return Err(Errno::ENOMEM);
        }
        let mut flags = args.prot & VmFlags::ACCESS | VmFlags::MAYWRITE | self.def_lock.flags();
        for (wanted, flag) in [
            (args.growsdown, VmFlags::GROWSDOWN),
            (args.stack, VmFlags::NOHUGEPAGE),
            (args.locked, VmFlags::LOCKED),
        ] {
            if wanted {
                flags = flags | flag;
            }
        }
        let addr = self.choose(cx, args, len)?;
        if args.noreplace && self.vmas.overlaps(addr, addr + len) {
            return Err(Errno::EEXIST);
        }
        if args.locked && cx.limits.memlock == 0 && !cx.caps.has(Caps::IPC_LOCK) {
            return Err(Errno::EPERM);
        }
        if !self.may_lock(cx, flags, len / PAGE) {
            return Err(Errno::EAGAIN);
        }
        let (flags, backing, offset) = kind(cx, args, file.as_ref(), flags, addr, len)?;
        if self.vmas.overlaps(addr, addr + len) {
            self.unmap(cx, addr, addr + len)?;
        }
        // Without a reservation the pool is asked at the fault. What was mapped there is gone by now
        // (`hugetlbfs_file_mmap()` comes after the old pages have been taken away).
        let reserves = args.source == MapSource::Hugetlb && !args.noreserve;
        if reserves && cx.knobs.hugetlb_pages < len / HUGE {
            return Err(Errno::ENOMEM);
        }
        let mut vma = Vma {
            start: addr,
            end: addr + len,
            flags,
            backing,
            offset,
            anon: 0,
            epoch: 0,
        };
        self.finish_flags(&mut vma);
        self.add(vma);
        if vma.flags.has(VmFlags::LOCKED) || args.populate {
            self.populate(cx, addr, addr + len);
        }
        Ok(addr)
    }

    /// What the kernel adds to every new mapping: merging by policy, no lock where locking is
    /// not supported.
    pub(super) fn finish_flags(&self, vma: &mut Vma) {
        let forgotten = match self.mutant {
            Some(Mutant::MergeNowOnly) => true,
            Some(Mutant::ExecForgetsMappings) => self.execed,
            _ => false,
        };
        if self.policy.has(PolicyKind::Mergeable) && vma.ksm_compatible() && !forgotten {
            vma.flags = vma.flags | VmFlags::MERGEABLE;
        }
        if !vma.supports_mlock() {
            vma.flags = vma.flags.without(VmFlags::LOCK_MASK);
        }
    }

    /// `__get_unmapped_area()`.
    fn choose(&self, cx: &Cx<'_>, args: &MapArgs, len: u64) -> Result<u64, Errno> {
        if len > TASK_SIZE {
            return Err(Errno::ENOMEM);
        }
        let align = match args.source {
            MapSource::Hugetlb => HUGE,
            MapSource::Anon | MapSource::File { .. } => PAGE,
        };
        if args.fixed || args.noreplace {
            if args.addr > TASK_SIZE - len {
                return Err(Errno::ENOMEM);
            }
            if !args.addr.is_multiple_of(align) {
                return Err(Errno::EINVAL);
            }
            // cap_mmap_addr()
            if args.addr < MMAP_MIN && !cx.caps.has(Caps::SYS_RAWIO) {
                return Err(Errno::EPERM);
            }
            return Ok(args.addr);
        }
        let hint = args.addr & !(align - 1);
        if hint >= MMAP_MIN && hint <= TASK_SIZE - len && !self.vmas.overlaps(hint, hint + len) {
            return Ok(hint);
        }
        self.free_range(len, align).ok_or(Errno::ENOMEM)
    }

    /// The highest free range below the stack's share; anonymous memory of at least 2 MiB is
    /// aligned to it (`thp_get_unmapped_area()`).
    pub(super) fn free_range(&self, len: u64, align: u64) -> Option<u64> {
        let top = self.mmap_base();
        let align = if len >= HUGE { HUGE } else { align };
        if align > PAGE
            && let Some(start) = self.vmas.gap_top_down(MMAP_MIN, top, len + align - PAGE)
        {
            return Some(start.next_multiple_of(align));
        }
        self.vmas
            .gap_top_down(MMAP_MIN, top, len)
            .filter(|start| align == PAGE || len >= HUGE || start % align == 0)
    }

    fn mmap_base(&self) -> u64 {
        let stack = self
            .vmas
            .before(u64::MAX)
            .map_or(TASK_SIZE, |top| top.start);
        stack.saturating_sub(128 << 20).max(MMAP_MIN)
    }

    /// munmap(2), by `do_vmi_munmap()`.
    pub(crate) fn munmap(&mut self, cx: &mut Cx<'_>, addr: u64, len: u64) -> Result<(), Errno> {
        if !addr.is_multiple_of(PAGE) || addr > TASK_SIZE || len > TASK_SIZE - addr {
            return Err(Errno::EINVAL);
        }
        let len = page_align(len).ok_or(Errno::EINVAL)?;
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        self.unmap(cx, addr, addr + len)
    }

    /// Takes `start..end` out, whatever lies there.
    pub(super) fn unmap(&mut self, cx: &mut Cx<'_>, start: u64, end: u64) -> Result<(), Errno> {
        let Some(first) = self.vmas.find(start).copied() else {
            return Ok(());
        };
        if first.start >= end {
            return Ok(());
        }
        if first.start < start && first.end > end && self.map_count() >= cx.knobs.max_map_count {
            return Err(Errno::ENOMEM);
        }
        // Only the cut in two counts against the limit (`vms_gather_munmap_vmas()`).
        let mut next = Some(first);
        if first.start < start || first.end > end {
            self.split_freely(start)?;
            self.split_freely(end)?;
            next = self.vmas.find(start).copied();
        } else if first.end < end {
            self.split_freely(end)?;
        }
        while let Some(vma) = next.filter(|vma| vma.start < end) {
            self.zap(cx, &vma, Why::Unmap);
            self.vmas.remove(vma.start);
            next = if vma.end < end {
                self.vmas.find(vma.end).copied()
            } else {
                None
            };
        }
        self.free_tables(start, end);
        Ok(())
    }
}

/// The part of `do_mmap()` that depends on what is mapped: flags, backing, offset in pages.
fn kind(
    cx: &mut Cx<'_>,
    args: &MapArgs,
    file: Option<&FileInfo>,
    mut flags: VmFlags,
    addr: u64,
    len: u64,
) -> Result<(VmFlags, Backing, u64), Errno> {
    if let (Some(info), MapSource::File { file, offset }) = (file, args.source) {
        if args.shared {
            if args.prot.has(VmFlags::WRITE) && !info.writable {
                return Err(Errno::EACCES);
            }
            flags = flags | VmFlags::SHARED | VmFlags::MAYSHARE;
            if !info.writable {
                // A read-only shared mapping counts as not shared (VM_SHARED goes, VM_MAYSHARE
                // stays) and can never be made writable.
                flags = flags.without(VmFlags::MAYWRITE | VmFlags::SHARED);
            }
        }
        if flags.has(VmFlags::GROWSDOWN) {
            return Err(Errno::EINVAL);
        }
        return Ok((account(flags, args), Backing::File(file), offset / PAGE));
    }
    // hugetlb memory is a file's.
    let file = args.source == MapSource::Hugetlb;
    if (args.shared || file) && flags.has(VmFlags::GROWSDOWN) {
        return Err(Errno::EINVAL);
    }
    if args.shared {
        flags = flags | VmFlags::SHARED | VmFlags::MAYSHARE;
    }
    if file {
        flags = flags | VmFlags::HUGETLB | VmFlags::DONTEXPAND;
        if args.noreserve {
            flags = flags | VmFlags::NORESERVE;
        }
        return Ok((flags.without(VmFlags::LOCK_MASK), Backing::Hugetlb, 0));
    }
    if args.shared {
        let object = cx.cache.new_file(FileInfo {
            name: String::new(),
            len,
            shmem: true,
            writable: true,
        });
        return Ok((account(flags, args), Backing::File(object), 0));
    }
    Ok((account(flags, args), Backing::Anon, addr / PAGE))
}

/// `accountable_mapping()`: private writable memory counts against the commit limit.
fn account(flags: VmFlags, args: &MapArgs) -> VmFlags {
    if args.noreserve {
        flags | VmFlags::NORESERVE
    } else if flags.has(VmFlags::WRITE) && !flags.has(VmFlags::SHARED) {
        flags | VmFlags::ACCOUNT
    } else {
        flags
    }
}
