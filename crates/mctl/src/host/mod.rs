//! What this kernel can do and how this host is set: facts, found by trying, never by version.

pub(crate) mod caller;
pub(crate) mod descriptors;

use std::path::Path;

use mctl_abi::thp::{Host, ThpDisable};
use mctl_abi::{Errno, PolicyKind};
use mctl_sys::procfs::thp::{Choice, Knob};
use mctl_sys::raw::madvise::{MADV_HUGEPAGE, takes_own_advice};
use mctl_sys::raw::native::Native;
use mctl_sys::raw::prctl;
use mctl_sys::remembered::Remembered;
use serde::Serialize;

use crate::error::{Error, Result};

/// Whether the kernel has something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// It has.
    Yes,
    /// It has not.
    No,
    /// Not asked.
    #[default]
    Unknown,
}

impl Support {
    /// From an answer.
    #[must_use]
    pub const fn from_bool(has: bool) -> Support {
        if has { Support::Yes } else { Support::No }
    }

    /// Whether it certainly has it.
    #[must_use]
    pub const fn is_yes(self) -> bool {
        matches!(self, Support::Yes)
    }
}

/// A knob of `/sys/kernel/mm/transparent_hugepage` as it is written there; a word that nobody
/// knows is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KnobValue {
    /// For everyone.
    Always,
    /// For those who ask.
    Madvise,
    /// For no one.
    Never,
    /// As the knob for all sizes says.
    Inherit,
    /// Another word.
    Other(String),
}

impl KnobValue {
    fn read(path: &Path) -> Result<KnobValue> {
        let text =
            std::fs::read(path).map_err(|error| Error::read(path.display().to_string(), &error))?;
        let knob = Knob::parse(&text).map_err(|error| Error::Read {
            what: path.display().to_string(),
            why: error.to_string(),
            errno: Errno::EIO,
        })?;
        Ok(match knob.choice() {
            Choice::Always => KnobValue::Always,
            Choice::Madvise => KnobValue::Madvise,
            Choice::Never => KnobValue::Never,
            Choice::Inherit => KnobValue::Inherit,
            other => KnobValue::Other(String::from_utf8_lossy(other.word()).into_owned()),
        })
    }

    /// The word.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            KnobValue::Always => "always",
            KnobValue::Madvise => "madvise",
            KnobValue::Never => "never",
            KnobValue::Inherit => "inherit",
            KnobValue::Other(word) => word,
        }
    }
}

/// One size of transparent huge page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThpSize {
    /// Its size in KiB; in JSON `bytes`.
    #[serde(rename = "bytes", serialize_with = "kib_as_bytes")]
    pub kb: u64,
    /// Its own knob (`hugepages-<kb>kB/enabled`).
    pub knob: KnobValue,
}

/// How the host is set for transparent huge pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThpHost {
    /// The knob for all sizes (`enabled`).
    pub enabled: KnobValue,
    /// The sizes with knobs of their own, smallest first. Empty before Linux 6.8.
    pub sizes: Vec<ThpSize>,
    /// Size of a huge page that one page-table entry of the second level maps, in KiB; in JSON `pmd_bytes`.
    #[serde(rename = "pmd_bytes", serialize_with = "kib_as_bytes")]
    pub pmd_kb: u64,
}

/// Sizes are bytes in JSON.
fn kib_as_bytes<S: serde::Serializer>(kib: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(kib.saturating_mul(1024))
}

/// Where the knobs are.
pub(crate) const THP_DIR: &str = "/sys/kernel/mm/transparent_hugepage";

impl ThpHost {
    /// Reads the knobs. `None`: a kernel without transparent huge pages.
    ///
    /// # Errors
    /// They cannot be read; or they are not there, and that is no sign of such a kernel: `/sys` is hidden
    /// or not mounted (`EOPNOTSUPP`).
    pub fn read() -> Result<Option<ThpHost>> {
        let dir = Path::new(THP_DIR);
        if !dir.exists() {
            return match hidden() {
                None => Ok(None),
                Some(why) => Err(Error::Unsupported {
                    what: format!("reading {THP_DIR}"),
                    why,
                }),
            };
        }
        let enabled = KnobValue::read(&dir.join("enabled"))?;
        let pmd_kb = std::fs::read_to_string(dir.join("hpage_pmd_size"))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .map_or(2048, |bytes| bytes / 1024);
        let mut sizes = Vec::new();
        let entries = std::fs::read_dir(dir).map_err(|error| Error::read(THP_DIR, &error))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let kb = name.to_str().and_then(|name| {
                name.strip_prefix("hugepages-")?
                    .strip_suffix("kB")?
                    .parse()
                    .ok()
            });
            if let Some(kb) = kb {
                // Some sizes are for shmem only and have no such knob.
                if let Ok(knob) = KnobValue::read(&entry.path().join("enabled")) {
                    sizes.push(ThpSize { kb, knob });
                }
            }
        }
        sizes.sort_by_key(|size| size.kb);
        Ok(Some(ThpHost {
            enabled,
            sizes,
            pmd_kb,
        }))
    }

    /// What the host says for one size, with `inherit` resolved. A word that nobody knows counts
    /// as never: nothing is promised on it.
    #[must_use]
    pub fn effective(&self, size: &ThpSize) -> Host {
        let value = if size.knob == KnobValue::Inherit {
            &self.enabled
        } else {
            &size.knob
        };
        plain(value)
    }

    /// What the host says for PMD-sized pages.
    #[must_use]
    pub fn pmd(&self) -> Host {
        self.sizes
            .iter()
            .find(|size| size.kb == self.pmd_kb)
            .map_or_else(|| plain(&self.enabled), |size| self.effective(size))
    }

    /// What the host says, taken over all sizes: whether advice on mappings makes a difference
    /// anywhere, or huge pages come without it, or not at all.
    #[must_use]
    pub fn overall(&self) -> Host {
        let mut modes: Vec<Host> = self.sizes.iter().map(|size| self.effective(size)).collect();
        if modes.is_empty() {
            modes.push(plain(&self.enabled));
        }
        if modes.contains(&Host::Madvise) {
            Host::Madvise
        } else if modes.contains(&Host::Always) {
            Host::Always
        } else {
            Host::Never
        }
    }
}

/// `SYSFS_MAGIC` (linux/magic.h).
const SYSFS: u64 = 0x6265_6572;

/// Why the knobs are not to be seen though there may be some; `None` where the kernel has none.
fn hidden() -> Option<String> {
    let counts_them = || {
        let text = std::fs::read_to_string("/proc/vmstat").ok()?;
        Some(
            text.lines()
                .any(|line| line.starts_with("thp_fault_alloc ")),
        )
    };
    let sysfs =
        rustix::fs::statfs("/sys/kernel/mm").is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(SYSFS));
    hidden_by(sysfs, counts_them())
}

/// `sysfs`: /sys/kernel/mm is the kernel's. `counts`: /proc/vmstat counts huge pages, where it can be read.
fn hidden_by(sysfs: bool, counts: Option<bool>) -> Option<String> {
    match (sysfs, counts) {
        (true, Some(false) | None) | (false, Some(false)) => None,
        (_, Some(true)) => Some(
            "the kernel has transparent huge pages (/proc/vmstat counts them), but its knobs are hidden from this \
             program: /sys is not mounted here, or masked"
                .to_owned(),
        ),
        (false, None) => {
            Some("/sys is not mounted here, so the host's knobs cannot be read".to_owned())
        }
    }
}

fn plain(value: &KnobValue) -> Host {
    match value {
        KnobValue::Always => Host::Always,
        KnobValue::Madvise => Host::Madvise,
        KnobValue::Never | KnobValue::Inherit | KnobValue::Other(_) => Host::Never,
    }
}

/// The facts that [`plan`](crate::plan()) decides by.
///
/// Every field can be set by hand, so that a plan can be made for any kernel there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostCaps {
    /// The THP knobs; `None` where the kernel has no transparent huge pages, or where they were
    /// not asked for.
    pub thp: Option<ThpHost>,
    /// Why the THP knobs could not be read, where the kernel may have some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thp_hidden: Option<String>,
    /// `PR_SET_THP_DISABLE`.
    pub thp_disable: Support,
    /// `PR_THP_DISABLE_EXCEPT_ADVISED` (Linux 6.18).
    pub except_advised: Support,
    /// `PR_SET_MEMORY_MERGE` (Linux 6.4, CONFIG_KSM).
    pub memory_merge: Support,
    /// `/sys/kernel/mm/ksm/run`: 1 while ksmd merges.
    pub ksm_run: Option<u64>,
    /// Any advice on oneself through process_madvise(PIDFD_SELF) (Linux 6.14).
    pub vectored_advice: Support,
    /// The number of the mctl() system call, where the kernel announces one
    /// (`/sys/kernel/mm/mctl/nr`); `null` on a stock kernel.
    pub native: Option<i32>,
}

impl HostCaps {
    /// Asks this kernel everything.
    ///
    /// # Errors
    /// The THP knobs are there but cannot be read.
    pub fn probe() -> Result<HostCaps> {
        HostCaps::probe_for(&PolicyKind::ALL)
    }

    /// Asks this kernel what these policies need to know, and no more.
    ///
    /// # Errors
    /// As [`HostCaps::probe`].
    pub fn probe_for(kinds: &[PolicyKind]) -> Result<HostCaps> {
        crate::with_room(|| HostCaps::ask(kinds))
    }

    fn ask(kinds: &[PolicyKind]) -> Result<HostCaps> {
        let mut caps = HostCaps {
            native: native().map(Native::number),
            ..HostCaps::default()
        };
        for kind in kinds {
            match kind {
                PolicyKind::Hugepage => {
                    match ThpHost::read() {
                        Ok(host) => caps.thp = host,
                        Err(Error::Unsupported { why, .. }) => caps.thp_hidden = Some(why),
                        Err(error) => caps.thp_hidden = Some(error.to_string()),
                    }
                    caps.thp_disable = has_thp_disable();
                    caps.vectored_advice = Support::from_bool(takes_own_advice(MADV_HUGEPAGE));
                }
                PolicyKind::Nohugepage => caps.thp_disable = has_thp_disable(),
                PolicyKind::HugepageAdvised => {
                    caps.thp_disable = has_thp_disable();
                    caps.except_advised = has_except_advised();
                }
                PolicyKind::Mergeable => {
                    caps.memory_merge = answered(prctl::memory_merge());
                    caps.ksm_run = ksm_run();
                }
                PolicyKind::FadeOnDeath => {}
            }
        }
        Ok(caps)
    }
}

/// The mctl() system call of the running kernel, asked for once.
pub(crate) fn native() -> Option<Native> {
    static KNOWN: Remembered<Option<Native>> = Remembered::new();
    KNOWN.get_or_find(Native::announced)
}

fn has_thp_disable() -> Support {
    answered(prctl::prctl(prctl::PR_GET_THP_DISABLE, [0; 4]))
}

/// Whether the kernel has an option of prctl(2), by its answer to a call that it could not refuse otherwise.
/// `EINVAL` is the kernel's own word for what it does not know; anything else (`EPERM`, `ENOSYS`, …) is a
/// seccomp filter or security module on this program, which says nothing of the kernel.
fn answered<T>(answer: Result<T, Errno>) -> Support {
    match answer {
        Ok(_) => Support::Yes,
        Err(Errno::EINVAL) => Support::No,
        Err(_) => Support::Unknown,
    }
}

/// There is no way to ask but to try. It is tried on the calling process and taken back at once;
/// where the process is in that state already, there is nothing to try.
pub(crate) fn has_except_advised() -> Support {
    static KNOWN: Remembered<Support> = Remembered::new();
    KNOWN.get_or_find(|| {
        let before = match prctl::thp_disable() {
            Ok(before) => before,
            refused => return answered(refused),
        };
        if before == ThpDisable::ExceptAdvised {
            return Support::Yes;
        }
        let answer = prctl::set_thp_disable(ThpDisable::ExceptAdvised);
        if answer.is_ok() {
            let _ = prctl::set_thp_disable(before);
        }
        answered(answer)
    })
}

fn ksm_run() -> Option<u64> {
    std::fs::read_to_string("/sys/kernel/mm/ksm/run")
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(enabled: KnobValue, sizes: &[(u64, KnobValue)]) -> ThpHost {
        let sizes = sizes
            .iter()
            .map(|(kb, knob)| ThpSize {
                kb: *kb,
                knob: knob.clone(),
            })
            .collect();
        ThpHost {
            enabled,
            sizes,
            pmd_kb: 2048,
        }
    }

    #[test]
    fn inherit_is_resolved() {
        let host = host(
            KnobValue::Madvise,
            &[(64, KnobValue::Never), (2048, KnobValue::Inherit)],
        );
        assert_eq!(host.pmd(), Host::Madvise);
        assert_eq!(host.overall(), Host::Madvise);
    }

    #[test]
    fn old_kernels_have_one_knob() {
        for (knob, wanted) in [
            (KnobValue::Always, Host::Always),
            (KnobValue::Madvise, Host::Madvise),
            (KnobValue::Never, Host::Never),
            (KnobValue::Other("sometimes".into()), Host::Never),
        ] {
            let host = host(knob, &[]);
            assert_eq!((host.pmd(), host.overall()), (wanted, wanted));
        }
    }

    #[test]
    fn one_size_by_madvise_makes_advice_matter() {
        let host = host(
            KnobValue::Never,
            &[(64, KnobValue::Madvise), (2048, KnobValue::Always)],
        );
        assert_eq!((host.pmd(), host.overall()), (Host::Always, Host::Madvise));
    }

    #[test]
    fn probing_leaves_no_trace() {
        let before = prctl::thp_disable();
        let caps = HostCaps::probe().unwrap();
        assert_eq!(prctl::thp_disable(), before);
        assert_ne!(caps.thp_disable, Support::Unknown);
        assert_ne!(caps.except_advised, Support::Unknown);
        assert_ne!(caps.memory_merge, Support::Unknown);
    }

    #[test]
    fn a_filter_is_not_taken_for_the_kernel() {
        assert_eq!(answered(Ok(0)), Support::Yes);
        assert_eq!(answered::<i64>(Err(Errno::EINVAL)), Support::No);
        for errno in [Errno::EPERM, Errno::ENOSYS, Errno::EACCES] {
            assert_eq!(answered::<i64>(Err(errno)), Support::Unknown);
        }
    }

    #[test]
    fn hidden_knobs_are_not_taken_for_a_kernel_without() {
        assert_eq!(hidden_by(true, Some(false)), None);
        assert_eq!(hidden_by(true, None), None);
        assert_eq!(hidden_by(false, Some(false)), None);
        assert!(hidden_by(true, Some(true)).is_some_and(|why| why.contains("hidden")));
        assert!(hidden_by(false, Some(true)).is_some());
        assert!(hidden_by(false, None).is_some_and(|why| why.contains("not mounted")));
    }

    #[test]
    fn only_what_is_needed_is_asked() {
        let caps = HostCaps::probe_for(&[PolicyKind::Nohugepage]).unwrap();
        assert_eq!(caps.thp, None);
        assert_eq!(caps.except_advised, Support::Unknown);
    }
}
