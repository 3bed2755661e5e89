//! What a scenario asks of the host, and what a host is.

use mctl_abi::thp::Host;
use mctl_model::{Features, HugeZeroWrite, Kernel, Knobs};

/// A host: what its knobs say and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The knob for huge pages.
    pub thp: Host,
    /// The knob for shared memory; `None` where it says a word that no table has (`within_size`).
    pub shmem: Option<Host>,
    /// Free pages of swap.
    pub swap_pages: u64,
    /// Free hugetlb pages.
    pub hugetlb_pages: u64,
    /// vm.max_map_count.
    pub max_map_count: u64,
    /// Yama's ptrace_scope; 0 where the kernel has no Yama.
    pub yama: u32,
    /// What its kernel does at a write to the huge zero page.
    pub huge_zero_write: HugeZeroWrite,
    /// What its kernel has, by trying.
    pub features: Features,
    /// What its kernel has not, by trying. What is in neither could not be tried.
    pub lacks: Features,
}

impl Default for Setup {
    fn default() -> Setup {
        let knobs = Knobs::default();
        Setup {
            thp: knobs.thp,
            shmem: Some(knobs.shmem),
            swap_pages: 0,
            hugetlb_pages: 0,
            max_map_count: knobs.max_map_count,
            yama: 0,
            huge_zero_write: HugeZeroWrite::AsTable,
            features: knobs.features,
            lacks: knobs.features.missing(),
        }
    }
}

impl Setup {
    /// The usual host under one of the kernels that the model can play.
    #[must_use]
    pub fn under(kernel: Kernel) -> Setup {
        Setup {
            features: kernel.features,
            lacks: kernel.features.missing(),
            huge_zero_write: kernel.huge_zero_write,
            ..Setup::default()
        }
    }
}

/// A fact about a kernel that a case may be known to differ under. Found out by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A write to the huge zero page brings a huge page, whatever the policy has become.
    HugeZeroStaysHuge,
    /// A write to the huge zero page brings small pages, always.
    HugeZeroTurnsSmall,
}

impl Fact {
    /// Every fact with its word.
    pub const ALL: [(Fact, &'static str); 2] = [
        (Fact::HugeZeroStaysHuge, "huge-zero-stays-huge"),
        (Fact::HugeZeroTurnsSmall, "huge-zero-turns-small"),
    ];

    /// Whether it is so on a host.
    #[must_use]
    pub fn on(self, host: &Setup) -> bool {
        match self {
            Fact::HugeZeroStaysHuge => host.huge_zero_write == HugeZeroWrite::Huge,
            Fact::HugeZeroTurnsSmall => host.huge_zero_write == HugeZeroWrite::Small,
        }
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Fact::ALL
            .iter()
            .find(|(fact, _)| *fact == self)
            .map_or("", |(_, word)| word)
    }
}

/// What a scenario asks of the host. What it does not name must not matter to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The knob for huge pages says this.
    pub thp: Option<Host>,
    /// The knob for shared memory says this.
    pub shmem: Option<Host>,
    /// At least so many free pages of swap; 0: none.
    pub swap_pages: Option<u64>,
    /// At least so many free hugetlb pages; 0: none.
    pub hugetlb_pages: Option<u64>,
    /// vm.max_map_count is at least this.
    pub max_map_count: Option<u64>,
    /// Yama's ptrace_scope is this.
    pub yama: Option<u32>,
    /// The kernel does this at a write to the huge zero page.
    pub huge_zero_write: Option<HugeZeroWrite>,
    /// The kernel has these.
    pub has: Features,
    /// The kernel has not these.
    pub lacks: Features,
}

impl Needs {
    /// Exactly this host.
    #[must_use]
    pub fn all_of(host: &Setup) -> Needs {
        Needs {
            thp: Some(host.thp),
            shmem: host.shmem,
            swap_pages: Some(host.swap_pages),
            hugetlb_pages: Some(host.hugetlb_pages),
            max_map_count: Some(host.max_map_count),
            yama: Some(host.yama),
            huge_zero_write: Some(host.huge_zero_write),
            has: host.features,
            lacks: host.lacks,
        }
    }

    /// A host that has what is asked for, and is like `host` otherwise.
    #[must_use]
    pub fn over(&self, host: &Setup) -> Setup {
        Setup {
            thp: self.thp.unwrap_or(host.thp),
            shmem: self.shmem.or(host.shmem),
            swap_pages: self.swap_pages.unwrap_or(host.swap_pages),
            hugetlb_pages: self.hugetlb_pages.unwrap_or(host.hugetlb_pages),
            max_map_count: self.max_map_count.unwrap_or(host.max_map_count),
            yama: self.yama.unwrap_or(host.yama),
            huge_zero_write: self.huge_zero_write.unwrap_or(host.huge_zero_write),
            features: host.features.and(self.has).without(self.lacks),
            lacks: host.lacks.and(self.lacks).without(self.has),
        }
    }

    /// The same of a host under whatever kernel.
    #[must_use]
    pub fn on_any_kernel(self) -> Needs {
        Needs {
            huge_zero_write: None,
            has: Features::NONE,
            lacks: Features::NONE,
            ..self
        }
    }

    /// What of it a host's kernel does otherwise, in words. Nobody can set that.
    #[must_use]
    pub fn missing_in_kernel(&self, host: &Setup) -> Option<String> {
        let there = self.lacks.without(host.lacks).iter().next();
        let missing = self.has.without(host.features).iter().next();
        if let Some(feature) = missing {
            let (major, minor) = feature.since().0;
            return Some(format!(
                "this kernel lacks {} (Linux {major}.{minor})",
                feature.words()
            ));
        }
        if let Some(feature) = there {
            return Some(format!(
                "the case is about kernels without {}",
                feature.words()
            ));
        }
        self.huge_zero_write
            .filter(|write| *write != host.huge_zero_write)
            .map(|_| {
                "the case needs another way of the kernel with the huge zero page than this host has"
                    .to_owned()
            })
    }

    /// What of it a host has not, in words.
    #[must_use]
    pub fn missing_on(&self, host: &Setup) -> Option<String> {
        if let Some(what) = self.missing_in_kernel(host) {
            return Some(what);
        }
        let enough = |needs: Option<u64>, has: u64| match needs {
            None => true,
            Some(0) => has == 0,
            Some(needs) => has >= needs,
        };
        let lacks = [
            (
                self.thp.is_none_or(|thp| thp == host.thp),
                "transparent_hugepage/enabled",
            ),
            (
                self.shmem.is_none_or(|shmem| Some(shmem) == host.shmem),
                "transparent_hugepage/shmem_enabled",
            ),
            (
                enough(self.swap_pages, host.swap_pages),
                "amount of free swap",
            ),
            (
                enough(self.hugetlb_pages, host.hugetlb_pages),
                "number of free hugetlb pages",
            ),
            (
                self.max_map_count
                    .is_none_or(|needs| host.max_map_count >= needs),
                "vm.max_map_count",
            ),
            (
                self.yama.is_none_or(|yama| yama == host.yama),
                "kernel.yama.ptrace_scope",
            ),
        ];
        let (_, what) = lacks.iter().find(|(has, _)| !has)?;
        Some(format!("the case needs another {what} than this host has"))
    }
}
