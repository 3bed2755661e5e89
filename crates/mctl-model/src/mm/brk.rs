//! brk(2).

use super::{Cx, Mm};
use crate::vma::{Backing, VmFlags, Vma};
use crate::{PAGE, TASK_SIZE, page_align};

impl Mm {
    /// The brk(2) system call (mm/mmap.c): returns where the heap then ends, unchanged where it
    /// could not move.
    pub(crate) fn sys_brk(&mut self, cx: &mut Cx<'_>, want: u64) -> u64 {
        self.try_brk(cx, want).unwrap_or(self.brk)
    }

    fn try_brk(&mut self, cx: &mut Cx<'_>, want: u64) -> Option<u64> {
        if want < self.brk_start || want > TASK_SIZE {
            return None;
        }
        let new = page_align(want)?;
        let old = page_align(self.brk)?;
        if new == old {
            self.brk = want;
            return Some(want);
        }
        if want <= self.brk {
            // The kernel refuses where nothing of the heap is mapped there.
            if self.vmas.find(new).is_none_or(|vma| vma.start >= old) {
                return None;
            }
            self.unmap(cx, new, old).ok()?;
            self.brk = want;
            return Some(want);
        }
        let flags = VmFlags::READ
            | VmFlags::WRITE
            | VmFlags::MAYWRITE
            | VmFlags::ACCOUNT
            | self.def_lock.flags();
        // check_brk_limits(): the lock limit.
        if !self.may_lock(cx, flags, (new - old) / PAGE) {
            return None;
        }
        if self.blocked(cx, old, new) || self.map_count() > cx.knobs.max_map_count {
            return None;
        }
        let mut vma = Vma {
            start: old,
            end: new,
            flags,
            backing: Backing::Anon,
            offset: old / PAGE,
            anon: 0,
            epoch: 0,
        };
        self.finish_flags(&mut vma);
        self.add(vma);
        self.brk = want;
        if vma.flags.has(VmFlags::LOCKED) {
            self.populate(cx, old, new);
        }
        Some(want)
    }

    /// Whether the next mapping, or the gap that a stack keeps below itself, is in the way.
    fn blocked(&self, cx: &Cx<'_>, old: u64, new: u64) -> bool {
        self.vmas.find(old).is_some_and(|next| {
            let floor = if next.flags.has(VmFlags::GROWSDOWN) {
                next.start.saturating_sub(cx.knobs.stack_guard)
            } else {
                next.start
            };
            new + PAGE > floor
        })
    }
}
