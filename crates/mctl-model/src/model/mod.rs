//! The machine: every task, address space, file and namespace, and who may do what.

mod check;
mod entries;
pub(crate) mod exec;
pub(crate) mod fork;
pub(crate) mod mctl;
mod memory;
pub(crate) mod pidfd;
mod pids;
pub(crate) mod pmadvise;
mod prctl;
mod reclaim;
pub(crate) mod signal;
pub(crate) mod spawn;

use std::collections::BTreeMap;

use mctl_abi::Errno;
use thiserror::Error;

use crate::cache::{Cache, FileInfo, FolioState};
use crate::creds::{Caps, Creds, UserNs};
use crate::ids::{MmId, NsId, TaskId};
use crate::knobs::{Image, Knobs, Limits};
use crate::mm::{Cx, Mm, Range};
use crate::mutant::Mutant;
use crate::vma::FileId;
use pids::Pids;
use signal::TaskState;

/// A thread, or a process by its first thread.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) pid: u32,
    /// The identity of its PID that is never used again (the pidfs inode).
    pub(crate) inode: u64,
    /// The first thread of its process.
    pub(crate) leader: TaskId,
    pub(crate) mm: Option<MmId>,
    pub(crate) creds: Creds,
    pub(crate) limits: Limits,
    pub(crate) no_new_privs: bool,
    pub(crate) parent: Option<TaskId>,
    pub(crate) state: TaskState,
    /// The parent that waits in vfork(2) until this one execs or exits.
    pub(crate) frees: Option<TaskId>,
    /// Open descriptors, kept with the first thread.
    pub(crate) fds: BTreeMap<i32, pidfd::Fd>,
}

/// A machine without a kernel. See the crate's documentation.
#[derive(Clone, Debug)]
pub struct Model {
    knobs: Knobs,
    tasks: BTreeMap<TaskId, Task>,
    mms: BTreeMap<MmId, Mm>,
    families: BTreeMap<u32, u32>,
    spaces: Vec<UserNs>,
    pids: Pids,
    cache: Cache,
    image: Image,
    ids: u32,
}

/// An invariant that does not hold: a bug of the model.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("invariant broken: {0}")]
pub struct Broken(String);

impl Broken {
    /// `EIO`, for callers that pass errors on as numbers.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::EIO
    }
}

impl Model {
    /// A machine with nothing running on it.
    #[must_use]
    pub fn new(knobs: Knobs) -> Model {
        let mutant = knobs.mutant;
        Model {
            pids: Pids::new(knobs.pid_max),
            knobs,
            tasks: BTreeMap::new(),
            mms: BTreeMap::new(),
            families: BTreeMap::new(),
            spaces: vec![UserNs {
                parent: None,
                owner: 0,
            }],
            cache: Cache::new(mutant),
            image: Image::default(),
            ids: 0,
        }
    }

    /// Sets what exec maps from now on.
    pub fn set_image(&mut self, image: Image) {
        self.image = image;
    }

    /// The host's knobs.
    #[must_use]
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// Makes a file that can be mapped.
    pub fn create_file(&mut self, info: FileInfo) -> FileId {
        self.cache.new_file(info)
    }

    /// The file with this name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<FileId> {
        self.cache.by_name(name)
    }

    /// A file's folios on the active and on the inactive list.
    #[must_use]
    pub fn file_folios(&self, file: FileId) -> (u64, u64) {
        self.cache.counts(file)
    }

    /// How often a page of the file came back after it had been evicted.
    #[must_use]
    pub fn refaults(&self, file: FileId) -> u64 {
        self.cache.refaults(file)
    }

    /// One folio of a file, if it is in the cache.
    #[must_use]
    pub fn folio(&self, file: FileId, page: u64) -> Option<&FolioState> {
        self.cache.folio(file, page)
    }

    /// Pages in swap.
    #[must_use]
    pub fn swap_used(&self) -> u64 {
        self.cache.swap_used
    }

    /// The address space that a task runs in.
    #[must_use]
    pub fn mm(&self, task: TaskId) -> Option<&Mm> {
        self.mms.get(&self.tasks.get(&task)?.mm?)
    }

    /// A mapping of a task as an observer sees it, by any address inside.
    #[must_use]
    pub fn observe(&self, task: TaskId, address: u64) -> Option<Range> {
        let mm = self.mm(task)?;
        let vma = mm.vma_at(address)?;
        Some(mm.observe(&self.knobs, &self.cache, vma))
    }

    /// Every mapping of a task that touches `start..end`, as an observer sees it.
    #[must_use]
    pub fn observe_all(&self, task: TaskId, start: u64, end: u64) -> Vec<Range> {
        let Some(mm) = self.mm(task) else {
            return Vec::new();
        };
        mm.vmas
            .iter_from(start)
            .take_while(|vma| vma.start < end)
            .map(|vma| mm.observe(&self.knobs, &self.cache, vma))
            .collect()
    }

    /// Whether two tasks run in one address space.
    #[must_use]
    pub fn same_mm(&self, a: TaskId, b: TaskId) -> bool {
        let of = |task| self.tasks.get(&task).and_then(|t: &Task| t.mm);
        of(a).is_some() && of(a) == of(b)
    }

    /// A task's credentials.
    #[must_use]
    pub fn creds(&self, task: TaskId) -> Option<Creds> {
        self.tasks.get(&task).map(|t| t.creds)
    }

    fn next_id(&mut self) -> u32 {
        self.ids += 1;
        self.ids
    }

    /// A task that can make a system call now.
    fn running(&self, task: TaskId) -> Result<&Task, Errno> {
        let found = self.tasks.get(&task).ok_or(Errno::ESRCH)?;
        match found.state {
            TaskState::Running => Ok(found),
            TaskState::InVfork => Err(Errno::EBUSY),
            TaskState::Zombie => Err(Errno::ESRCH),
        }
    }

    /// `ns_capable()`: the capability in a namespace, held there, in an ancestor, or by owning
    /// it from its parent.
    fn ns_capable(&self, creds: &Creds, target: NsId, cap: Caps) -> bool {
        let mut ns = target;
        loop {
            if ns == creds.ns {
                return creds.caps.has(cap);
            }
            let Some(space) = usize::try_from(ns.0)
                .ok()
                .and_then(|at| self.spaces.get(at))
            else {
                return false;
            };
            let Some(parent) = space.parent else {
                return false;
            };
            if parent == creds.ns && space.owner == creds.uid.effective {
                return true;
            }
            ns = parent;
        }
    }

    /// `capable()`: in the first namespace.
    fn capable(&self, creds: &Creds, cap: Caps) -> bool {
        self.ns_capable(creds, NsId(0), cap)
    }

    /// Runs `body` on a task's address space.
    fn with_mm<R>(
        &mut self,
        task: TaskId,
        body: impl FnOnce(&mut Mm, &mut Cx<'_>) -> R,
    ) -> Result<R, Errno> {
        let caller = self.running(task)?;
        let mm = caller.mm.ok_or(Errno::ESRCH)?;
        let (limits, creds) = (caller.limits, caller.creds);
        // Only what counts in the first namespace counts in memory management.
        let caps = if creds.ns == NsId(0) {
            creds.caps
        } else {
            Caps::NONE
        };
        self.on_mm(mm, limits, caps, body)
    }

    fn on_mm<R>(
        &mut self,
        id: MmId,
        limits: Limits,
        caps: Caps,
        body: impl FnOnce(&mut Mm, &mut Cx<'_>) -> R,
    ) -> Result<R, Errno> {
        let result = self.on_one_mm(id, limits, caps, body);
        if !self.cache.holes.is_empty() {
            self.fill_holes();
        }
        result
    }

    fn on_one_mm<R>(
        &mut self,
        id: MmId,
        limits: Limits,
        caps: Caps,
        body: impl FnOnce(&mut Mm, &mut Cx<'_>) -> R,
    ) -> Result<R, Errno> {
        let slot = self.mms.get_mut(&id).ok_or(Errno::ESRCH)?;
        let alone = self.families.get(&slot.family).copied().unwrap_or(0) < 2;
        if alone {
            let mut cx = Cx {
                knobs: &self.knobs,
                cache: &mut self.cache,
                limits,
                caps,
                others: None,
            };
            return Ok(body(slot, &mut cx));
        }
        // The slot is empty meanwhile, so that looking at the relatives does not find oneself.
        let mut mm = std::mem::take(slot);
        let mut cx = Cx {
            knobs: &self.knobs,
            cache: &mut self.cache,
            limits,
            caps,
            others: Some(&self.mms),
        };
        let result = body(&mut mm, &mut cx);
        if let Some(slot) = self.mms.get_mut(&id) {
            *slot = mm;
        }
        Ok(result)
    }

    /// Puts an address space in.
    fn add_mm(&mut self, mm: Mm) -> MmId {
        let id = MmId(self.next_id());
        *self.families.entry(mm.family).or_default() += 1;
        self.mms.insert(id, mm);
        id
    }

    /// One user fewer; the last one's leaving tears the address space down.
    fn put_mm(&mut self, id: MmId) {
        let Some(mm) = self.mms.get_mut(&id) else {
            return;
        };
        mm.users = mm.users.saturating_sub(1);
        let early = mm.mutant == Some(Mutant::FadeAtAnyDeath)
            && mm.policy.has(mctl_abi::PolicyKind::FadeOnDeath);
        if mm.users > 0 && !early {
            return;
        }
        let family = mm.family;
        self.on_mm(id, Limits::default(), Caps::FULL, |mm, cx| mm.teardown(cx))
            .ok();
        self.mms.remove(&id);
        if let Some(count) = self.families.get_mut(&family) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.families.remove(&family);
            }
        }
    }
}
