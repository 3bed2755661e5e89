//! One address space: its mappings, pages, heap, lock mode, policy record.

pub(crate) mod advise;
mod brk;
mod collapse;
mod edit;
pub(crate) mod fault;
mod life;
mod lock;
pub(crate) mod map;
mod policy;
mod protect;
pub(crate) mod remap;
mod tables;
mod zap;

use std::collections::BTreeMap;

use mctl_abi::thp::{Advice, Host, ThpDisable, may_be_huge};
use mctl_abi::{Policy, Thp};

use crate::cache::Cache;
use crate::creds::Caps;
use crate::ids::{MmId, NsId};
use crate::knobs::{Knobs, Limits};
use crate::mutant::Mutant;
use crate::pages::{Pages, Run};
use crate::tree::Tree;
use crate::vma::{VmFlags, Vma};
use crate::{HUGE, PAGE};
use tables::Tables;

/// What `mlockall(2)` asked for future mappings (`mm->def_flags`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockMode {
    /// Nothing.
    #[default]
    None,
    /// `MCL_FUTURE`.
    Locked,
    /// `MCL_FUTURE | MCL_ONFAULT`.
    OnFault,
}

impl LockMode {
    pub(crate) const fn flags(self) -> VmFlags {
        match self {
            LockMode::None => VmFlags::NONE,
            LockMode::Locked => VmFlags::LOCKED,
            LockMode::OnFault => VmFlags::LOCK_MASK,
        }
    }
}

/// An address space.
#[derive(Clone, Debug, Default)]
pub struct Mm {
    pub(crate) vmas: Tree<Vma>,
    /// Pages of private anonymous memory, and private copies of file pages.
    pub(crate) anon: Pages,
    /// Page-cache pages that are mapped; the frame is the page's number in the file plus one.
    pub(crate) file: Pages,
    pub(crate) tables: Tables,
    pub(crate) brk_start: u64,
    pub(crate) brk: u64,
    pub(crate) def_lock: LockMode,
    pub(crate) policy: Policy,
    pub(crate) thp_disable: ThpDisable,
    /// The user namespace that it was executed in (`mm->user_ns`).
    pub(crate) user_ns: NsId,
    /// Whether its owner may look into it (`get_dumpable()`); off after a set-id exec.
    pub(crate) dumpable: bool,
    /// Tasks that run in it (`mm_users`).
    pub(crate) users: u32,
    /// Forks that lie behind it; an older `anon_vma` is shared with a relative.
    pub(crate) epoch: u32,
    pub(crate) next_anon: u32,
    /// Address spaces that may share pages by a fork carry the same number.
    pub(crate) family: u32,
    /// Locked pages that the kernel goes on counting after `MREMAP_DONTUNMAP` took the lock off
    /// their mapping: see docs/model-vs-kernel.md.
    pub(crate) stale_locked: u64,
    /// Pages were moved by mremap(2), so a relative may hold them at other addresses.
    pub(crate) moved: bool,
    /// It was made by exec, not by the harness.
    pub(crate) execed: bool,
    /// A fault on purpose.
    pub(crate) mutant: Option<Mutant>,
}

/// What a memory call needs from around the address space.
pub(crate) struct Cx<'a> {
    pub(crate) knobs: &'a Knobs,
    pub(crate) cache: &'a mut Cache,
    pub(crate) limits: Limits,
    /// The caller's capabilities in the first user namespace.
    pub(crate) caps: Caps,
    /// The other address spaces, where one may share pages with this one.
    pub(crate) others: Option<&'a BTreeMap<MmId, Mm>>,
}

impl Cx<'_> {
    /// Whether a relative maps one of the frames; `address` is where this address space does.
    pub(crate) fn shared(&self, mm: &Mm, frames: std::ops::Range<u64>, address: u64) -> bool {
        let Some(others) = self.others else {
            return false;
        };
        others
            .values()
            .filter(|other| other.family == mm.family)
            .any(|other| other.maps_frames(&frames, address, mm.moved))
    }
}

/// A stretch of an address space whose mappings have the same flags: what an observer sees when
/// mapping boundaries that the kernel may merge are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Flags.
    pub flags: VmFlags,
    /// Private anonymous memory.
    pub anon: bool,
    /// Resident bytes.
    pub rss: u64,
    /// Bytes mapped by huge entries, zero pages left out.
    pub huge: u64,
    /// `THPeligible`: huge pages may appear, and the mapping holds an aligned block.
    pub eligible: bool,
}

impl Mm {
    /// Every mapping, in order.
    pub fn vmas(&self) -> impl Iterator<Item = &Vma> + '_ {
        self.vmas.iter()
    }

    /// The mapping at an address.
    #[must_use]
    pub fn vma_at(&self, address: u64) -> Option<&Vma> {
        self.vmas.at(address)
    }

    /// The pages of anonymous memory inside a range.
    pub fn runs(&self, start: u64, end: u64) -> impl Iterator<Item = Run> + '_ {
        self.anon.range(start, end)
    }

    /// The page-cache pages that are mapped inside a range.
    pub fn file_runs(&self, start: u64, end: u64) -> impl Iterator<Item = Run> + '_ {
        self.file.range(start, end)
    }

    /// Size of all mappings in bytes (`VmSize`).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.vmas.sum().weights[0] * PAGE
    }

    /// Size of the locked mappings in bytes (`VmLck`).
    #[must_use]
    pub fn locked(&self) -> u64 {
        self.locked_pages() * PAGE
    }

    pub(crate) fn locked_pages(&self) -> u64 {
        self.vmas.sum().weights[1] + self.stale_locked
    }

    /// Resident bytes, zero pages left out.
    #[must_use]
    pub fn rss(&self) -> u64 {
        (self.anon.totals()[0] + self.file.totals()[0]) * PAGE
    }

    /// Bytes of anonymous memory that are mapped huge.
    #[must_use]
    pub fn huge(&self) -> u64 {
        self.anon.totals()[1] * PAGE
    }

    /// How many mappings there are.
    #[must_use]
    pub fn map_count(&self) -> u64 {
        self.vmas.sum().count
    }

    /// The policy record.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// What the program said by `PR_SET_THP_DISABLE`.
    #[must_use]
    pub fn thp_disable(&self) -> ThpDisable {
        self.thp_disable
    }

    /// What future mappings get by `mlockall(2)`.
    #[must_use]
    pub fn lock_mode(&self) -> LockMode {
        self.def_lock
    }

    /// Where the heap begins, and where it ends now.
    #[must_use]
    pub fn heap(&self) -> (u64, u64) {
        (self.brk_start, self.brk)
    }

    /// Whether the kernel may put a huge page into the mapping by itself.
    pub(crate) fn may_be_huge(&self, knobs: &Knobs, vma: &Vma) -> bool {
        let mut host = if vma.is_anon() {
            knobs.thp
        } else {
            knobs.shmem
        };
        let (mut thp, mut disable) = (self.policy.thp(), self.thp_disable);
        let mut advice = vma.flags.advice();
        match self.mutant {
            Some(Mutant::NeverIgnored) if thp == Thp::Never => thp = Thp::Inherit,
            Some(Mutant::AdvisedIgnored) if thp == Thp::Advised => thp = Thp::Inherit,
            Some(Mutant::AlwaysIgnored) if thp == Thp::Always => thp = Thp::Inherit,
            Some(Mutant::AlwaysOverHost) if thp == Thp::Always => host = Host::Always,
            Some(Mutant::AlwaysOverAdvice) if thp == Thp::Always => advice = Advice::None,
            Some(Mutant::DisableIgnored) => disable = ThpDisable::Off,
            Some(Mutant::ExceptHoldsAlways) if disable == ThpDisable::ExceptAdvised => {
                thp = Thp::Advised;
            }
            Some(Mutant::ShmemFollowsThp) => host = knobs.thp,
            _ => {}
        }
        may_be_huge(host, thp, disable, advice)
    }

    /// One mapping as an observer sees it.
    pub(crate) fn observe(&self, knobs: &Knobs, cache: &Cache, vma: &Vma) -> Range {
        let [rss, huge] = self.anon.totals_in(vma.start, vma.end);
        let [file, _] = self.file.totals_in(vma.start, vma.end);
        let shmem = match vma.backing {
            crate::vma::Backing::File(id) => cache.file(id).is_some_and(|f| f.shmem),
            _ => false,
        };
        Range {
            start: vma.start,
            end: vma.end,
            flags: vma.flags,
            anon: vma.is_anon(),
            rss: (rss + file) * PAGE,
            huge: huge * PAGE,
            eligible: (vma.is_anon() || shmem) && vma.holds_block() && self.may_be_huge(knobs, vma),
        }
    }

    fn maps_frames(&self, frames: &std::ops::Range<u64>, address: u64, moved: bool) -> bool {
        let hit = |run: Run| {
            let pages = (run.end - run.start) / PAGE;
            run.frame != 0 && run.frame < frames.end && frames.start < run.frame + pages
        };
        let span = (frames.end - frames.start) * PAGE;
        if self.anon.range(address, address + span).any(hit) {
            return true;
        }
        (moved || self.moved) && self.anon.range(0, u64::MAX).any(hit)
    }

    /// The kernel's `mlock_future_ok()`: whether `pages` more may be locked.
    pub(crate) fn may_lock(&self, cx: &Cx<'_>, flags: VmFlags, pages: u64) -> bool {
        !flags.has(VmFlags::LOCKED)
            || cx.caps.has(Caps::IPC_LOCK)
            || self.locked_pages().saturating_add(pages) <= cx.limits.memlock / PAGE
    }

    /// Checks every invariant of the address space.
    pub(crate) fn check(&self, cx_knobs: &Knobs) -> Result<(), String> {
        self.vmas.check()?;
        self.anon.check()?;
        self.file.check()?;
        if Policy::from_mask(self.policy.mask()).is_none() {
            return Err(format!(
                "policy {:#x} breaks an invariant",
                self.policy.mask()
            ));
        }
        if self.map_count() > cx_knobs.max_map_count + 1 {
            return Err(format!("{} mappings", self.map_count()));
        }
        for vma in self.vmas.iter() {
            if vma.start % PAGE != 0 || vma.end % PAGE != 0 || vma.end > crate::TASK_SIZE {
                return Err(format!("mapping {:#x} is out of bounds", vma.start));
            }
            if vma.flags.has(VmFlags::LOCKONFAULT) && !vma.flags.has(VmFlags::LOCKED) {
                return Err(format!("mapping {:#x} locks on fault only", vma.start));
            }
            if vma.flags.has(VmFlags::HUGEPAGE | VmFlags::NOHUGEPAGE) {
                return Err(format!("mapping {:#x} has both advices", vma.start));
            }
            if vma.flags.any(VmFlags::LOCK_MASK) && !vma.supports_mlock() {
                return Err(format!("mapping {:#x} cannot be locked", vma.start));
            }
        }
        for run in self
            .anon
            .range(0, u64::MAX)
            .chain(self.file.range(0, u64::MAX))
        {
            let mut cursor = run.start;
            while cursor < run.end {
                let Some(vma) = self.vmas.at(cursor) else {
                    return Err(format!("a page at {cursor:#x} has no mapping"));
                };
                let cut = vma.end < run.end && vma.end % HUGE != 0;
                if cut && matches!(run.kind, crate::PageKind::Huge | crate::PageKind::HugeZero) {
                    return Err(format!("a huge page crosses {:#x}", vma.end));
                }
                cursor = vma.end;
            }
        }
        Ok(())
    }
}
