//! Numbers for symbols, per architecture.
//!
//! A symbol that is not here stays a symbol: [`lookup`] answers `None`, never 0.

mod syscalls;
mod tables;

use std::collections::HashMap;
use std::sync::OnceLock;

/// `(name, asm-generic value, values of the architectures that differ)`.
pub(crate) type Entry = (&'static str, i128, &'static [(&'static str, i128)]);

/// Constants of this project and of kernels newer than the tables, and the C limits.
const EXTRA: &[Entry] = &[
    ("CHAR_BIT", 8, &[]),
    ("INT_MAX", 2_147_483_647, &[]),
    ("INT_MIN", -2_147_483_648, &[]),
    ("KAPI_MAX_PARAMS", 16, &[]),
    ("LLONG_MAX", 9_223_372_036_854_775_807, &[]),
    ("LLONG_MIN", -9_223_372_036_854_775_808, &[]),
    ("MADV_GUARD_INSTALL", 102, &[]),
    ("MADV_GUARD_REMOVE", 103, &[]),
    ("MCTL_CLEAR_FADE_ON_DEATH", 6, &[]),
    ("MCTL_CLEAR_HUGEPAGE", 2, &[]),
    ("MCTL_CLEAR_HUGEPAGE_ADVISED", 10, &[]),
    ("MCTL_CLEAR_MERGEABLE", 8, &[]),
    ("MCTL_CLEAR_NOHUGEPAGE", 4, &[]),
    ("MCTL_GET_POLICY", 256, &[]),
    ("MCTL_SET_DEFAULT_EXEC", 1, &[]),
    ("MCTL_SET_FADE_ON_DEATH", 5, &[]),
    ("MCTL_SET_HUGEPAGE", 1, &[]),
    ("MCTL_SET_HUGEPAGE_ADVISED", 9, &[]),
    ("MCTL_SET_MERGEABLE", 7, &[]),
    ("MCTL_SET_NOHUGEPAGE", 3, &[]),
    ("NULL", 0, &[]),
    (
        "PIDFD_NONBLOCK",
        2048,
        &[
            ("alpha", 4),
            ("mips", 128),
            ("parisc", 65536),
            ("sparc", 16384),
        ],
    ),
    ("PIDFD_SELF", -10000, &[]),
    ("PIDFD_SELF_PROCESS", -10001, &[]),
    ("PIDFD_SELF_THREAD", -10000, &[]),
    ("PIDFD_SELF_THREAD_GROUP", -10001, &[]),
    (
        "PIDFD_THREAD",
        128,
        &[
            ("alpha", 2048),
            ("mips", 1024),
            ("parisc", 1024),
            ("sparc", 2048),
        ],
    ),
    ("PMADV_ENTIRE_ADDRESS_SPACE", 8, &[]),
    ("PMADV_INHERIT_EXEC", 64, &[]),
    ("PMADV_INHERIT_FORK", 32, &[]),
    ("PMADV_NO_ERROR_ON_UNMAPPED", 2, &[]),
    ("PMADV_SET_DEFAULT", 16, &[]),
    ("PMADV_SET_FORK_EXEC_DEFAULT", 4, &[]),
    ("PMADV_SKIP_ERRORS", 1, &[]),
    ("PR_THP_DISABLE_EXCEPT_ADVISED", 2, &[]),
    ("SHRT_MAX", 32_767, &[]),
    (
        "SIZE_MAX",
        18_446_744_073_709_551_615,
        &[("arm", 4_294_967_295), ("m68k", 4_294_967_295)],
    ),
    (
        "SSIZE_MAX",
        9_223_372_036_854_775_807,
        &[("arm", 2_147_483_647), ("m68k", 2_147_483_647)],
    ),
    ("U8_MAX", 255, &[]),
    ("U16_MAX", 65_535, &[]),
    ("U32_MAX", 4_294_967_295, &[]),
    ("U64_MAX", 18_446_744_073_709_551_615, &[]),
    ("S32_MAX", 2_147_483_647, &[]),
    ("S64_MAX", 9_223_372_036_854_775_807, &[]),
    ("UINT_MAX", 4_294_967_295, &[]),
    ("UIO_MAXIOV", 1024, &[]),
    ("ULLONG_MAX", 18_446_744_073_709_551_615, &[]),
    (
        "ULONG_MAX",
        18_446_744_073_709_551_615,
        &[("arm", 4_294_967_295), ("m68k", 4_294_967_295)],
    ),
    (
        "LONG_MAX",
        9_223_372_036_854_775_807,
        &[("arm", 2_147_483_647), ("m68k", 2_147_483_647)],
    ),
    ("false", 0, &[]),
    ("true", 1, &[]),
];

fn index() -> &'static HashMap<&'static str, &'static Entry> {
    static INDEX: OnceLock<HashMap<&'static str, &'static Entry>> = OnceLock::new();
    INDEX.get_or_init(|| {
        [
            tables::ERRNO,
            tables::SIGNAL,
            tables::MMAN,
            tables::FCNTL,
            tables::CAP,
            tables::PRCTL,
            tables::MISC,
            EXTRA,
        ]
        .into_iter()
        .flatten()
        .map(|entry| (entry.0, entry))
        .collect()
    })
}

/// The number of `symbol` on asm-generic architectures (x86, arm64, riscv, …).
#[must_use]
pub fn lookup(symbol: &str) -> Option<i128> {
    index().get(symbol).map(|entry| entry.1)
}

/// The number of `symbol` on `arch`; the generic one where the architecture does not differ.
#[must_use]
pub fn lookup_on(symbol: &str, arch: &str) -> Option<i128> {
    let entry = index().get(symbol)?;
    Some(
        entry
            .2
            .iter()
            .find(|(name, _)| *name == arch)
            .map_or(entry.1, |(_, value)| *value),
    )
}

/// The architectures on which `symbol` differs from asm-generic.
pub fn deviating(symbol: &str) -> impl Iterator<Item = &'static str> {
    index()
        .get(symbol)
        .map_or(&[][..], |entry| entry.2)
        .iter()
        .map(|(arch, _)| *arch)
}

/// The name of an error number on asm-generic architectures (`4` → `EINTR`).
#[must_use]
pub fn errno_name(number: i128) -> Option<&'static str> {
    // EWOULDBLOCK, EDEADLOCK and ENOTSUP are second names; the first one is meant.
    const SECOND: [&str; 3] = ["EWOULDBLOCK", "EDEADLOCK", "ENOTSUP"];
    tables::ERRNO
        .iter()
        .find(|entry| entry.1 == number && !SECOND.contains(&entry.0))
        .map(|entry| entry.0)
}

/// The name of a capability number (`14` → `CAP_IPC_LOCK`).
#[must_use]
pub fn capability_name(number: i128) -> Option<&'static str> {
    tables::CAP
        .iter()
        .find(|entry| entry.1 == number)
        .map(|entry| entry.0)
}

/// Whether `symbol` is an error name of this kernel family.
#[must_use]
pub fn is_errno(symbol: &str) -> bool {
    tables::ERRNO.iter().any(|entry| entry.0 == symbol)
}

/// The number of a system call on this machine, if it is one of those that the tables have.
#[must_use]
pub fn syscall_number(name: &str) -> Option<u32> {
    let entry = syscalls::SYSCALLS
        .iter()
        .find(|(known, ..)| *known == name)?;
    match std::env::consts::ARCH {
        "x86_64" => entry.1,
        "aarch64" | "riscv64" => entry.2,
        _ => None,
    }
}

/// Whether `symbol` looks like a C constant (`MCL_FUTURE`), known or not.
#[must_use]
pub fn looks_constant(symbol: &str) -> bool {
    let mut letters = symbol
        .chars()
        .filter(|c| c.is_ascii_alphabetic())
        .peekable();
    letters.peek().is_some() && letters.all(|c| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_where_the_abi_does() {
        assert_eq!(lookup("EINTR"), Some(4));
        assert_eq!(lookup("EAGAIN"), Some(11));
        assert_eq!(lookup_on("EAGAIN", "alpha"), Some(35));
        assert_eq!(lookup_on("MCL_FUTURE", "powerpc"), Some(0x4000));
        assert_eq!(lookup_on("MCL_FUTURE", "x86"), Some(2));
        assert_eq!(lookup("CAP_IPC_LOCK"), Some(14));
        assert_eq!(lookup("MCL_NOBODY_KNOWS"), None);
        assert_eq!(errno_name(11), Some("EAGAIN"));
    }

    #[test]
    fn no_name_is_listed_twice_with_different_numbers() {
        let mut seen: HashMap<&str, i128> = HashMap::new();
        for table in [
            tables::ERRNO,
            tables::SIGNAL,
            tables::MMAN,
            tables::FCNTL,
            tables::CAP,
        ] {
            for entry in table {
                assert!(
                    seen.insert(entry.0, entry.1).is_none_or(|v| v == entry.1),
                    "{}",
                    entry.0
                );
            }
        }
        for entry in EXTRA {
            assert!(
                seen.insert(entry.0, entry.1).is_none_or(|v| v == entry.1),
                "{}",
                entry.0
            );
        }
    }
}
