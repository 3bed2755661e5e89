//! Whoever can run a history: the model, this kernel, and later the native kernel.

pub mod engine;
pub mod model;
mod remote;
pub mod stock;
mod stock_model;

use mctl_abi::Errno;
use mctl_model::{Image, PAGE, Region, VmFlags, page_align};
use thiserror::Error;

use crate::call::{Addr, Base, Call, FileIx, Life, Look, TaskIx};
use crate::lang::{Fact, Names, Needs};
use crate::view::{ARENA, SLOT, Scope, View};
use mctl_abi::thp::Host;

/// What a call came to: its value, or its error.
pub type Answer = Result<i64, Errno>;

/// Why a backend did not do a step.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot be done here, and why. It is no disagreement.
    #[error("not possible here: {0}")]
    NotPossible(String),
    /// The engine answers `EOPNOTSUPP`: this kernel cannot do it exactly, and why.
    #[error("not possible here: {0}")]
    Unsupported(String),
    /// Something is broken: the harness, or the scenario.
    #[error("{0}")]
    Broken(String),
}

impl Trouble {
    pub(crate) fn broken(what: impl std::fmt::Display) -> Trouble {
        Trouble::Broken(what.to_string())
    }
}

/// A process to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// User and group.
    pub uid: u32,
    /// Capabilities.
    pub caps: mctl_model::Caps,
    /// RLIMIT_MEMLOCK in bytes.
    pub memlock: u64,
    /// A kernel thread.
    pub kernel: bool,
}

impl Start {
    /// Root with everything.
    #[must_use]
    pub const fn root() -> Start {
        Start {
            uid: 0,
            caps: mctl_model::Caps::FULL,
            memlock: 8 << 20,
            kernel: false,
        }
    }
}

/// A file to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Size in bytes.
    pub len: u64,
    /// tmpfs.
    pub shmem: bool,
    /// Opened read-only.
    pub readonly: bool,
}

/// Runs steps. A history begins with [`Backend::begin`]; what the one before left is gone then.
pub trait Backend {
    /// What reports call it.
    fn name(&self) -> &'static str;

    /// From the next history on: whether the scenario is about kernels that have no mctl()
    /// themselves. The model plays one then.
    fn as_stock(&mut self, _stock: bool) {}

    /// Whether a fact is so on this backend's kernel.
    fn fact(&self, _fact: Fact) -> bool {
        false
    }

    /// The host's effective knobs for huge pages in private anonymous and in shared memory; `None` for a word that no
    /// table has.
    fn thp_knobs(&self) -> (Host, Option<Host>);

    /// Begins a history.
    ///
    /// # Errors
    /// `NotPossible` where the host has not what the scenario needs.
    fn begin(&mut self, needs: &Needs, names: &Names) -> Result<(), Trouble>;

    /// Starts a process.
    ///
    /// # Errors
    /// `NotPossible`, `Broken`.
    fn spawn(&mut self, task: TaskIx, start: &Start) -> Result<(), Trouble>;

    /// Makes a file.
    ///
    /// # Errors
    /// `NotPossible`, `Broken`.
    fn file(&mut self, file: FileIx, new: &NewFile) -> Result<(), Trouble>;

    /// Puts memory pressure on file folios.
    ///
    /// # Errors
    /// `NotPossible`, `Broken`.
    fn reclaim(&mut self, folios: u64) -> Result<(), Trouble>;

    /// Makes the next process get a dead task's number.
    ///
    /// # Errors
    /// `NotPossible`, `Broken`.
    fn recycle(&mut self, task: TaskIx) -> Result<(), Trouble>;

    /// One call by one task.
    ///
    /// # Errors
    /// `NotPossible`, `Broken`. An error of the call itself is an answer.
    fn call(&mut self, task: TaskIx, call: &Call) -> Result<Answer, Trouble>;

    /// What an observer sees of a task's address space.
    ///
    /// # Errors
    /// `NotPossible`, `Broken`.
    fn observe(&mut self, task: TaskIx, scope: Scope) -> Result<View, Trouble>;

    /// Whether a task lives.
    ///
    /// # Errors
    /// `NotPossible`, `Broken`.
    fn life(&mut self, task: TaskIx) -> Result<Life, Trouble>;

    /// The mask that `MCTL_GET_POLICY` would return.
    ///
    /// # Errors
    /// `NotPossible`, `Broken`.
    fn policy(&mut self, task: TaskIx) -> Result<u32, Trouble>;

    /// A number that only some backends can tell: pages in swap, dirty, young; folios.
    ///
    /// # Errors
    /// `NotPossible`, `Broken`.
    fn measure(&mut self, look: &Look) -> Result<u64, Trouble>;

    /// Where a region lies, if it lies anywhere yet.
    fn places(&self) -> &Places;

    /// From the next history on: whether what cannot be had exactly is done as far as it can be.
    /// False where this backend knows no such thing.
    fn best_effort(&mut self, _on: bool) -> bool {
        false
    }

    /// Why the last call of mctl or of the extended process_madvise failed, in its own words.
    fn reason(&self) -> Option<&str> {
        None
    }

    /// What the outcome of the last call of mctl said, where it told one.
    fn told(&self) -> Option<engine::Told> {
        None
    }

    /// What a call of this history said that it could not do: what differs after it was foretold.
    fn shortfall(&self) -> Option<(&str, engine::Short)> {
        None
    }
}

/// Where regions and the heap lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    regions: Vec<Option<u64>>,
    heap: u64,
    stack: u64,
}

impl Places {
    pub(crate) fn reset(&mut self, regions: usize, image: &Image) {
        self.turn_to(image, None);
        self.regions.clear();
        self.regions.resize(regions, None);
    }

    /// Where an image's heap begins, and its first stack's highest page.
    pub(crate) fn bases(image: &Image) -> (u64, u64) {
        let heap = page_align(image.brk).unwrap_or(image.brk);
        let grows = |region: &&Region| region.flags.has(VmFlags::GROWSDOWN);
        let stack = image.regions.iter().filter(grows);
        let ends = stack.map(|region| region.start + region.len);
        (heap, ends.max().unwrap_or(0).saturating_sub(PAGE))
    }

    /// Counts from these bases, or from the image's.
    pub(crate) fn turn_to(&mut self, image: &Image, own: Option<(u64, u64)>) {
        (self.heap, self.stack) = own.unwrap_or_else(|| Places::bases(image));
    }

    pub(crate) fn bind(&mut self, region: u16, address: u64) {
        let at = usize::from(region);
        if self.regions.len() <= at {
            self.regions.resize(at + 1, None);
        }
        if let Some(slot) = self.regions.get_mut(at) {
            *slot = Some(address);
        }
    }

    /// A region's own place in the arena: one slot each, so that regions never touch.
    #[must_use]
    pub fn own(region: u16) -> u64 {
        ARENA.start + u64::from(region) % 60 * SLOT
    }

    /// An address in numbers.
    #[must_use]
    pub fn resolve(&self, addr: Addr) -> u64 {
        let base = match addr.base {
            Base::Zero => 0,
            Base::Heap => self.heap,
            Base::Stack => self.stack,
            Base::Region(at) => self
                .regions
                .get(usize::from(at))
                .copied()
                .flatten()
                .unwrap_or_else(|| Places::own(at)),
        };
        base.wrapping_add(addr.offset)
    }
}
