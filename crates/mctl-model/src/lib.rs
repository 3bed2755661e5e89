//! The executable model of mctl: what the contract says, as a program.
//!
//! A [`Model`] is a machine without a kernel: tasks and thread groups, user namespaces and
//! credentials, a PID space that recycles numbers, pidfds, address spaces made of mappings and
//! pages, and file folios on two lists. Its methods are the system calls. It is pure and
//! deterministic: the same calls give the same machine, on every computer.
//!
//! It is the oracle of the conformance suite (crate `mctl-conformance`): random histories run
//! on it and on the live kernel must look the same. The policy itself (state machine, check
//! order, permission, which memory may become huge) is not restated here: it is
//! [`mctl_abi`]'s.
//!
//! ```
//! use mctl_model::{Knobs, MapArgs, Model, SpawnArgs, PAGE};
//!
//! let mut model = Model::new(Knobs::default());
//! let task = model.spawn(&SpawnArgs::default())?;
//! let at = model.mmap(task, &MapArgs::anon(0x1000_0000, 4 * PAGE).fixed())?;
//! model.madvise(task, at, 4 * PAGE, mctl_model::Madvise::HUGEPAGE)?;
//! model.check().map_err(|broken| broken.errno())?;
//! # Ok::<(), mctl_abi::Errno>(())
//! ```
//!
//! What it leaves out is said in docs/design/model.md; where it and the kernel disagree, in
//! docs/model-vs-kernel.md.

#![forbid(unsafe_code)]

mod cache;
mod creds;
mod ids;
mod kernel;
mod knobs;
mod madv;
mod mm;
mod model;
mod mutant;
mod pages;
mod tree;
mod vma;

pub use cache::{FileInfo, FolioState, Reclaimed};
pub use creds::{Caps, Creds};
pub use ids::{MmId, NsId, TaskId};
pub use kernel::{Feature, Features, KERNELS, Kernel, USUAL};
pub use knobs::{HugeZeroWrite, Image, Knobs, Limits, Region};
pub use madv::{Madvise, Pmadv};
pub use mm::map::{MapArgs, MapSource};
pub use mm::{LockMode, Mm, Range};
pub use model::exec::{ExecArgs, Program};
pub use model::fork::{CloneArgs, CloneKind};
pub use model::mctl::{Rule, Target};
pub use model::pidfd::IdType;
pub use model::pmadvise::{IoVec, PmadviseOutcome, WholeOrVec};
pub use model::signal::TaskState;
pub use model::spawn::SpawnArgs;
pub use model::{Broken, Model};
pub use mutant::Mutant;
pub use pages::{PageKind, Run};
pub use vma::{Backing, FileId, VmFlags, Vma};

/// The base page's size in bytes.
pub const PAGE: u64 = 4096;
/// The huge page's size in bytes (one PMD on x86-64).
pub const HUGE: u64 = 2 << 20;
/// The first address that user space cannot map (x86-64, four levels of page tables).
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// The lowest address that mmap(2) hands out (`vm.mmap_min_addr`).
pub const MMAP_MIN: u64 = 0x1000;

/// Rounds up to whole pages; `None` on overflow.
#[must_use]
pub const fn page_align(len: u64) -> Option<u64> {
    match len.checked_add(PAGE - 1) {
        Some(sum) => Some(sum & !(PAGE - 1)),
        None => None,
    }
}
