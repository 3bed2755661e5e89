//! The host's knobs, read and never written.

use mctl_abi::thp::Host;

use crate::backend::Trouble;
use crate::lang::Setup;

fn knob(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/sys/kernel/mm/transparent_hugepage/{name}"));
    let text = text.ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

/// The effective knob for 2 MiB pages.
fn thp_knob() -> Result<Host, Trouble> {
    let size = knob("hugepages-2048kB/enabled").unwrap_or_else(|| "inherit".to_owned());
    let word = if size == "inherit" {
        knob("enabled").unwrap_or_default()
    } else {
        size
    };
    match word.as_str() {
        "always" => Ok(Host::Always),
        "madvise" => Ok(Host::Madvise),
        "never" => Ok(Host::Never),
        _ => Err(Trouble::NotPossible(
            "the kernel has no transparent huge pages".to_owned(),
        )),
    }
}

/// The host as a scenario would describe it.
pub(super) fn host() -> Result<Setup, Trouble> {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let swap_pages = if swaps.lines().count() > 1 {
        u64::MAX
    } else {
        0
    };
    Ok(Setup {
        thp: thp_knob()?,
        shmem: match knob("shmem_enabled").as_deref() {
            Some("always" | "force") => Host::Always,
            Some("advise" | "within_size") => Host::Madvise,
            _ => Host::Never,
        },
        swap_pages,
        hugetlb_pages: read("/proc/sys/vm/nr_hugepages").unwrap_or(0),
        max_map_count: read("/proc/sys/vm/max_map_count").unwrap_or(0),
        yama: u32::try_from(read("/proc/sys/kernel/yama/ptrace_scope").unwrap_or(0)).unwrap_or(3),
    })
}
