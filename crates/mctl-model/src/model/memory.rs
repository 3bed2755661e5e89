//! The memory system calls, by the task that makes them.

use mctl_abi::Errno;

use super::Model;
use crate::ids::TaskId;
use crate::madv::Madvise;
use crate::mm::fault::Access;
use crate::mm::map::MapArgs;
use crate::mm::remap::MoveFlags;
use crate::vma::VmFlags;
use crate::{PAGE, TASK_SIZE};

impl Model {
    /// mmap(2). Returns the address.
    ///
    /// # Errors
    /// As mmap(2): `EINVAL`, `EBADF`, `ENOMEM`, `EOVERFLOW`, `EPERM`, `EEXIST`, `EAGAIN`,
    /// `EACCES`.
    pub fn mmap(&mut self, task: TaskId, args: &MapArgs) -> Result<u64, Errno> {
        self.with_mm(task, |mm, cx| mm.mmap(cx, args))?
    }

    /// munmap(2).
    ///
    /// # Errors
    /// `EINVAL`; `ENOMEM` where a mapping would be cut in two and there are too many.
    pub fn munmap(&mut self, task: TaskId, addr: u64, len: u64) -> Result<(), Errno> {
        self.with_mm(task, |mm, cx| mm.munmap(cx, addr, len))?
    }

    /// mprotect(2); `growsdown` is `PROT_GROWSDOWN`.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM`, `EACCES`.
    pub fn mprotect(
        &mut self,
        task: TaskId,
        addr: u64,
        len: u64,
        prot: VmFlags,
        growsdown: bool,
    ) -> Result<(), Errno> {
        self.with_mm(task, |mm, cx| mm.mprotect(cx, addr, len, prot, growsdown))?
    }

    /// mremap(2): `maymove`, `fixed` (`MREMAP_FIXED` with the new address) and `dontunmap`.
    /// Returns where the memory now is.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT`, `ENOMEM`, `EAGAIN`.
    #[expect(clippy::too_many_arguments, reason = "the system call's own arguments")]
    pub fn mremap(
        &mut self,
        task: TaskId,
        old: u64,
        old_len: u64,
        new_len: u64,
        maymove: bool,
        fixed: Option<u64>,
        dontunmap: bool,
    ) -> Result<u64, Errno> {
        let flags = MoveFlags {
            maymove,
            fixed,
            dontunmap,
        };
        self.with_mm(task, |mm, cx| mm.mremap(cx, old, old_len, new_len, flags))?
    }

    /// The brk(2) system call: returns where the heap ends after it.
    ///
    /// # Errors
    /// `ESRCH` where the task is gone; never for the heap itself.
    pub fn brk(&mut self, task: TaskId, end: u64) -> Result<u64, Errno> {
        self.with_mm(task, |mm, cx| mm.sys_brk(cx, end))
    }

    /// madvise(2).
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` for a gap, `EAGAIN`, `EACCES`, `EFAULT`.
    pub fn madvise(
        &mut self,
        task: TaskId,
        addr: u64,
        len: u64,
        advice: Madvise,
    ) -> Result<(), Errno> {
        self.with_mm(task, |mm, cx| mm.madvise(cx, addr, len, advice))?
    }

    /// mlock(2), or mlock2(2) with `MLOCK_ONFAULT`.
    ///
    /// # Errors
    /// `EPERM`, `ENOMEM`, `EINVAL`, `EAGAIN`.
    pub fn mlock(&mut self, task: TaskId, addr: u64, len: u64, onfault: bool) -> Result<(), Errno> {
        self.with_mm(task, |mm, cx| mm.mlock(cx, addr, len, onfault))?
    }

    /// mlock2(2) with its flags as numbers.
    ///
    /// # Errors
    /// `EINVAL` for an unknown flag; else as [`Model::mlock`].
    pub fn mlock2(&mut self, task: TaskId, addr: u64, len: u64, flags: u32) -> Result<(), Errno> {
        self.running(task)?;
        if flags & !1 != 0 {
            return Err(Errno::EINVAL);
        }
        self.mlock(task, addr, len, flags == 1)
    }

    /// munlock(2).
    ///
    /// # Errors
    /// `ENOMEM` for a gap, `EINVAL`.
    pub fn munlock(&mut self, task: TaskId, addr: u64, len: u64) -> Result<(), Errno> {
        self.with_mm(task, |mm, cx| mm.munlock(cx, addr, len))?
    }

    /// mlockall(2) with its flags as numbers.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`, `ENOMEM`.
    pub fn mlockall(&mut self, task: TaskId, flags: u32) -> Result<(), Errno> {
        self.with_mm(task, |mm, cx| mm.mlockall(cx, flags))?
    }

    /// munlockall(2).
    ///
    /// # Errors
    /// `ESRCH` where the task is gone.
    pub fn munlockall(&mut self, task: TaskId) -> Result<(), Errno> {
        self.with_mm(task, |mm, cx| mm.munlockall(cx))
    }

    /// Loads from every page of a range, or stores to it.
    ///
    /// # Errors
    /// `EFAULT` where the program would get SIGSEGV, `ENXIO` where SIGBUS; the pages before it
    /// have been touched.
    pub fn touch(&mut self, task: TaskId, addr: u64, len: u64, write: bool) -> Result<(), Errno> {
        let access = if write { Access::Write } else { Access::Read };
        self.with_mm(task, |mm, cx| {
            let mut page = addr & !(PAGE - 1);
            let end = addr.saturating_add(len.max(1)).min(TASK_SIZE);
            while page < end {
                mm.touch(cx, page, access)?;
                page += PAGE;
            }
            Ok(())
        })?
    }

    /// Reads pages of a file by read(2): they come into the cache and count as used.
    ///
    /// # Errors
    /// `ESRCH` where the task is gone.
    pub fn read_file(
        &mut self,
        task: TaskId,
        file: crate::FileId,
        first: u64,
        pages: u64,
    ) -> Result<(), Errno> {
        self.running(task)?;
        let last = self.cache.file_pages(file);
        for page in first..first.saturating_add(pages).min(last) {
            self.cache.read(file, page);
        }
        Ok(())
    }
}
