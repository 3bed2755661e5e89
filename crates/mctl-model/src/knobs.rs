//! The host: its knobs, the limits of a process, and the image that exec builds.

use mctl_abi::permission::Yama;
use mctl_abi::thp::Host;

use crate::kernel::{Features, Kernel, USUAL};
use crate::mutant::Mutant;
use crate::vma::VmFlags;
use crate::{HUGE, PAGE};

/// What the first write to the huge zero page brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugeZeroWrite {
    /// What the table of the contract says at that moment (docs/CONTRACT.md#never-stands).
    #[default]
    AsTable,
    /// A huge page, whatever the policy has become (mainline since Linux 6.13).
    Huge,
    /// A small page, always (before Linux 6.13).
    Small,
}

/// What an administrator has set. Nothing in the model changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// The effective `hugepages-2048kB/enabled`.
    pub thp: Host,
    /// `shmem_enabled`, with `advise` as `Madvise` and anything between never and always that
    /// is not `advise` left out.
    pub shmem: Host,
    /// `use_zero_page`: a read fault in memory that may be huge brings the huge zero page.
    pub huge_zero: bool,
    /// What a write to the huge zero page brings.
    pub huge_zero_write: HugeZeroWrite,
    /// What its kernel has.
    pub features: Features,
    /// `vm.max_map_count`.
    pub max_map_count: u64,
    /// hugetlb pages in the pool, 2 MiB each.
    pub hugetlb_pages: u64,
    /// Free pages of swap.
    pub swap_pages: u64,
    /// `kernel.pid_max`: PIDs are 1 to this minus 1.
    pub pid_max: u32,
    /// Yama's ptrace_scope.
    pub yama: Yama,
    /// The stack guard gap in bytes (256 pages).
    pub stack_guard: u64,
    /// A fault on purpose, for the controls of a suite.
    pub mutant: Option<Mutant>,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            thp: Host::Madvise,
            shmem: Host::Never,
            huge_zero: true,
            huge_zero_write: HugeZeroWrite::AsTable,
            features: Kernel::of(USUAL).features,
            max_map_count: 65_530,
            hugetlb_pages: 0,
            swap_pages: 0,
            pid_max: 32_768,
            yama: Yama::Classic,
            stack_guard: 256 * PAGE,
            mutant: None,
        }
    }
}

/// Resource limits, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// RLIMIT_MEMLOCK; `u64::MAX` is no limit.
    pub memlock: u64,
    /// RLIMIT_STACK.
    pub stack: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memlock: 8 << 20,
            stack: 8 << 20,
        }
    }
}

/// One mapping of a new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// Size in bytes.
    pub len: u64,
    /// Its flags.
    pub flags: VmFlags,
    /// A kernel mapping such as `[vdso]`.
    pub special: bool,
}

/// What exec maps. The conformance suite fills it in from the real process that it compares
/// with, so that sizes and limits agree to the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The mappings, in any order, disjoint.
    pub regions: Vec<Region>,
    /// Where the heap begins (`mm->start_brk`).
    pub brk_start: u64,
    /// Where it ends (`mm->brk`); a heap that is not empty is also one of the regions.
    pub brk: u64,
}

impl Default for Image {
    fn default() -> Image {
        let rw = VmFlags::READ | VmFlags::WRITE | VmFlags::MAYWRITE | VmFlags::ACCOUNT;
        let rx = VmFlags::READ | VmFlags::EXEC | VmFlags::MAYWRITE;
        let region = |start, pages: u64, flags, special| Region {
            start,
            len: pages * PAGE,
            flags,
            special,
        };
        Image {
            regions: vec![
                region(0x5555_5540_0000, 64, rx, false),
                region(0x5555_5560_0000, 8, rw, false),
                region(
                    0x7fff_f7ff_c000,
                    4,
                    VmFlags::READ
                        | VmFlags::DONTEXPAND
                        | VmFlags::IO
                        | VmFlags::PFNMAP
                        | VmFlags::DONTDUMP,
                    true,
                ),
                region(0x7fff_f800_0000, 2, rx | VmFlags::DONTEXPAND, true),
                region(0x7fff_fffd_e000, 33, rw | VmFlags::GROWSDOWN, false),
            ],
            brk_start: 0x5555_5560_0000 + HUGE,
            brk: 0x5555_5560_0000 + HUGE,
        }
    }
}
