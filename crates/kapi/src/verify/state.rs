//! The state that expressions may name, and how it is read from a view of a process.

use super::script::{DESCRIPTORS, MERGE, PENDING, Region, THP, View};

/// VMA flags by their kernel names and what smaps calls them. Their numbers here are their places:
/// the kernel's own differ from version to version, and only sameness matters.
const FLAGS: &[(&str, &str)] = &[
    ("VM_READ", "rd"),
    ("VM_WRITE", "wr"),
    ("VM_EXEC", "ex"),
    ("VM_SHARED", "sh"),
    ("VM_LOCKED", "lo"),
    ("VM_LOCKONFAULT", "lf"),
    ("VM_HUGEPAGE", "hg"),
    ("VM_NOHUGEPAGE", "nh"),
    ("VM_MERGEABLE", "mg"),
    ("VM_SEQ_READ", "sr"),
    ("VM_RAND_READ", "rr"),
    ("VM_DONTCOPY", "dc"),
    ("VM_DONTDUMP", "dd"),
    ("VM_WIPEONFORK", "wf"),
];

/// What a state path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// State of the process or its mappings.
    State,
    /// Memory that is there.
    Memory,
    /// Things that the process holds.
    Resource,
    /// Signals that wait for it.
    Signals,
}

/// Every state path, what it stands for, and what a reader is told of it.
pub(super) const PATHS: &[(&str, Kind, &str)] = &[
    ("vma->vm_flags", Kind::State, "flags of an existing mapping"),
    ("mm->def_flags", Kind::State, "flags of a new mapping"),
    ("mm->locked_vm", Kind::State, "VmLck"),
    ("locked_vm", Kind::State, "VmLck"),
    ("mm->total_vm", Kind::State, "VmSize"),
    (
        "vma->rss",
        Kind::Memory,
        "resident bytes of an existing mapping",
    ),
    ("files->count", Kind::Resource, "open descriptors"),
    ("thp_disabled", Kind::State, "PR_GET_THP_DISABLE"),
    ("memory_merge", Kind::State, "PR_GET_MEMORY_MERGE"),
    ("pending_signals", Kind::Signals, "pending signals"),
];

/// What the path stands for.
pub(super) fn kind(path: &str) -> Option<Kind> {
    PATHS
        .iter()
        .find(|(known, ..)| *known == path)
        .map(|(_, kind, _)| *kind)
}

/// What a reader is told of the path.
pub(super) fn words(path: &str) -> Option<&'static str> {
    PATHS
        .iter()
        .find(|(known, ..)| *known == path)
        .map(|(.., words)| *words)
}

/// The place of a VMA flag.
pub(super) fn flag(name: &str) -> Option<i128> {
    FLAGS
        .iter()
        .position(|(known, _)| *known == name)
        .map(|place| 1 << place)
}

fn flags(region: &Region) -> i128 {
    FLAGS
        .iter()
        .enumerate()
        .filter(|(_, (_, code))| region.flags.iter().any(|f| f == code))
        .fold(0, |bits, (place, _)| bits | 1 << place)
}

/// The value of a path in a view; `later` is the region that was mapped last.
pub(super) fn read(path: &str, view: &View, later: &str) -> Option<i128> {
    let status = |key: &str| view.status.get(key).map(|n| i128::from(*n));
    let region = |name: &str| view.regions.get(name).filter(|r| r.size_kb > 0);
    match path {
        "vma->vm_flags" => region("before").map(flags),
        "mm->def_flags" => region(later).map(flags),
        "mm->locked_vm" | "locked_vm" => status("VmLck").map(|kb| kb * 1024),
        "mm->total_vm" => status("VmSize").map(|kb| kb * 1024),
        "vma->rss" => region("before").map(|r| i128::from(r.rss_kb) * 1024),
        "files->count" => status(DESCRIPTORS),
        "thp_disabled" => status(THP),
        "memory_merge" => status(MERGE),
        "pending_signals" => status(PENDING),
        _ => None,
    }
}

/// A value as it is shown.
pub(super) fn shown(path: &str, value: i128) -> String {
    match path {
        "vma->vm_flags" | "mm->def_flags" => {
            let names: Vec<&str> = FLAGS
                .iter()
                .enumerate()
                .filter(|(place, _)| value >> place & 1 == 1)
                .map(|(_, (_, code))| *code)
                .collect();
            format!("`{}`", names.join(" "))
        }
        "pending_signals" => format!("{value:#x}"),
        "files->count" | "thp_disabled" | "memory_merge" => value.to_string(),
        _ => format!("{} kB", value / 1024),
    }
}

/// What differs after a call, in words; the sizes that any look may change are left out. `later`
/// has a new mapping.
pub(super) fn differences(before: &View, after: &View, later: &View) -> Vec<String> {
    PATHS
        .iter()
        .filter(|(path, ..)| !matches!(*path, "locked_vm" | "mm->total_vm"))
        .filter_map(|(path, _, words)| {
            let view = if *path == "mm->def_flags" {
                later
            } else {
                after
            };
            let (a, b) = (read(path, before, "def")?, read(path, view, "after")?);
            (a != b).then(|| format!("{words}: {} → {}", shown(path, a), shown(path, b)))
        })
        .collect()
}
