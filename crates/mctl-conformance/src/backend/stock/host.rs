//! The host's knobs: read, and written only where that was asked for.

use mctl_abi::thp::Host;
use mctl_model::{Features, HugeZeroWrite};

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
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let counted = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let free = counted("HugePages_Free:").unwrap_or(0);
    let reserved = counted("HugePages_Rsvd:").unwrap_or(0);
    Ok(Setup {
        thp: thp_knob()?,
        shmem: match knob("shmem_enabled").as_deref() {
            Some("always") => Some(Host::Always),
            Some("advise") => Some(Host::Madvise),
            Some("never") => Some(Host::Never),
            _ => None,
        },
        // Kilobytes; whole pages.
        swap_pages: counted("SwapFree:").unwrap_or(0) / 4,
        hugetlb_pages: free.saturating_sub(reserved),
        max_map_count: read("/proc/sys/vm/max_map_count").unwrap_or(0),
        // Found out by trying, in facts.rs.
        huge_zero_write: HugeZeroWrite::default(),
        features: Features::NONE,
        lacks: Features::NONE,
        yama: u32::try_from(read("/proc/sys/kernel/yama/ptrace_scope").unwrap_or(0)).unwrap_or(3),
    })
}

const THP: &str = "/sys/kernel/mm/transparent_hugepage";

fn word(host: Host) -> &'static str {
    match host {
        Host::Always => "always",
        Host::Madvise => "madvise",
        Host::Never => "never",
    }
}

/// With fewer mappings the suite itself would run out of memory: the limit is for every process.
const FEW_MAPPINGS: u64 = 4096;

/// Sets the knobs as a scenario asks, where they differ. Swap is left as it is.
pub(super) fn arrange(now: &Setup, wanted: &Setup) -> Result<(), Trouble> {
    if wanted.max_map_count < now.max_map_count.min(FEW_MAPPINGS) {
        return Err(Trouble::NotPossible(format!(
            "a real program does not live with {} mappings, nor does the suite",
            wanted.max_map_count
        )));
    }
    if wanted.yama >= 3 && now.yama < 3 {
        let why = "kernel.yama.ptrace_scope cannot be taken back once it is 3, and the cases after it \
                   need another";
        return Err(Trouble::NotPossible(why.to_owned()));
    }
    let mut writes = Vec::new();
    if wanted.thp != now.thp {
        // The size's own knob may stand apart from the common one.
        let size = format!("{THP}/hugepages-2048kB/enabled");
        if std::path::Path::new(&size).exists() {
            writes.push((size, "inherit".to_owned()));
        }
        writes.push((format!("{THP}/enabled"), word(wanted.thp).to_owned()));
    }
    if let Some(shmem) = wanted.shmem
        && wanted.shmem != now.shmem
    {
        let value = match shmem {
            Host::Madvise => "advise",
            other => word(other),
        };
        writes.push((format!("{THP}/shmem_enabled"), value.to_owned()));
    }
    for (differs, path, value) in [
        (
            wanted.hugetlb_pages != now.hugetlb_pages,
            "/proc/sys/vm/nr_hugepages",
            wanted.hugetlb_pages,
        ),
        (
            wanted.max_map_count != now.max_map_count,
            "/proc/sys/vm/max_map_count",
            wanted.max_map_count,
        ),
        (
            wanted.yama != now.yama,
            "/proc/sys/kernel/yama/ptrace_scope",
            u64::from(wanted.yama),
        ),
    ] {
        if differs {
            writes.push((path.to_owned(), value.to_string()));
        }
    }
    for (path, value) in writes {
        std::fs::write(&path, &value).map_err(|error| {
            Trouble::NotPossible(format!("{path} cannot be set to {value}: {error}"))
        })?;
    }
    Ok(())
}
