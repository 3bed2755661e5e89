//! What the host gives to memory for which nobody asked: there, and only there, a process that is
//! as the host says differs from one that has huge pages only where advised.

use std::io::ErrorKind;
use std::path::Path;

use mctl_abi::thp::Host;
use mctl_sys::procfs::mountinfo::tmpfs_mounts;
use mctl_sys::procfs::thp::{Choice, Knob};

use crate::error::Result;
use crate::host::{KnobValue, THP_DIR, ThpHost};

/// What comes without advice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unadvised {
    /// The sizes of huge page that private anonymous memory gets, in bytes.
    pub(super) anonymous: Vec<u64>,
    /// Whether other memory (shared, of files) may get some as well, or a knob says what nobody
    /// knows.
    pub(super) more: bool,
    /// Whether a tmpfs mount may say so where the knobs do not.
    pub(super) mounts_count: bool,
}

impl Unadvised {
    /// Reads the knobs. `None`: they are not there, or not for us to see.
    pub(super) fn read() -> Result<Option<Unadvised>> {
        let Some(host) = ThpHost::read()? else {
            return Ok(None);
        };
        let mut unadvised = Unadvised::of(&host);
        unadvised.take_shmem(&Shmem::read(Path::new(THP_DIR)));
        Ok(Some(unadvised))
    }

    fn of(host: &ThpHost) -> Unadvised {
        let odd = |knob: &KnobValue| matches!(knob, KnobValue::Other(_));
        let sizes = host.sizes.iter();
        let mut anonymous: Vec<u64> = sizes
            .filter(|size| host.effective(size) == Host::Always)
            .map(|size| size.kb.saturating_mul(1024))
            .collect();
        // Before Linux 6.8 the one size has no knob of its own.
        if host.sizes.is_empty() && host.pmd() == Host::Always {
            anonymous.push(host.pmd_kb.saturating_mul(1024));
        }
        Unadvised {
            anonymous,
            // Mappings of files go by the knob for all sizes, whatever those of the sizes say.
            more: host.enabled == KnobValue::Always
                || odd(&host.enabled)
                || host.sizes.iter().any(|size| odd(&size.knob)),
            mounts_count: true,
        }
    }

    fn take_shmem(&mut self, shmem: &Shmem) {
        self.more |= shmem.gives_more();
        self.mounts_count = shmem.there && shmem.global != Word::Deny;
    }

    /// Whether nothing comes without advice, as far as the knobs go.
    pub(super) fn is_nothing(&self) -> bool {
        self.anonymous.is_empty() && !self.more
    }

    /// Whether a stretch of private anonymous memory would get a huge page.
    pub(super) fn fits(&self, start: u64, end: u64) -> bool {
        self.anonymous.iter().any(|&size| {
            let Some(mask) = size.is_power_of_two().then(|| size - 1) else {
                return false;
            };
            let first = start.checked_add(mask).map(|start| start & !mask);
            first
                .and_then(|first| first.checked_add(size))
                .is_some_and(|last| last <= end)
        })
    }
}

/// A word of a knob for shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Always,
    WithinSize,
    Advise,
    Never,
    Deny,
    Force,
    Inherit,
    /// Another, or one that we may not read.
    Odd,
}

/// `shmem_enabled`, for all sizes and for each.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shmem {
    /// Whether the kernel has huge pages for shared memory at all.
    there: bool,
    global: Word,
    /// Linux 6.14.
    sizes: Vec<Word>,
}

impl Shmem {
    fn read(dir: &Path) -> Shmem {
        let global = word(&dir.join("shmem_enabled"));
        let mut sizes = Vec::new();
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            sizes.extend(word(&entry.path().join("shmem_enabled")));
        }
        Shmem {
            there: global.is_some(),
            global: global.unwrap_or(Word::Never),
            sizes,
        }
    }

    /// Whether some shared memory gets huge pages for which nobody asked, mount options aside.
    fn gives_more(&self) -> bool {
        let unasked = |word: Word| {
            matches!(
                word,
                Word::Always | Word::WithinSize | Word::Force | Word::Odd
            )
        };
        if self.global == Word::Deny {
            return false;
        }
        if unasked(self.global) && (self.sizes.is_empty() || self.global == Word::Force) {
            return true;
        }
        self.sizes.iter().any(|&size| match size {
            Word::Inherit => unasked(self.global),
            size => unasked(size),
        })
    }
}

/// `None`: there is no such knob.
fn word(path: &Path) -> Option<Word> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return None;
        }
        Err(_) => return Some(Word::Odd),
    };
    Some(match Knob::parse(&text).map(|knob| knob.choice()) {
        Ok(Choice::Always) => Word::Always,
        Ok(Choice::WithinSize) => Word::WithinSize,
        Ok(Choice::Advise | Choice::Madvise) => Word::Advise,
        Ok(Choice::Never) => Word::Never,
        Ok(Choice::Deny) => Word::Deny,
        Ok(Choice::Force) => Word::Force,
        Ok(Choice::Inherit) => Word::Inherit,
        Ok(Choice::Other(_)) | Err(_) => Word::Odd,
    })
}

/// Whether a tmpfs among these mounts (`/proc/PID/mountinfo`) gives huge pages unasked.
pub(super) fn mounts_give_more(mountinfo: &[u8]) -> bool {
    tmpfs_mounts(mountinfo).any(|mount| {
        mount.map_or(true, |mount| {
            !matches!(mount.huge(), None | Some(b"never" | b"advise"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::ThpSize;

    fn host(enabled: &KnobValue, sizes: &[(u64, KnobValue)]) -> ThpHost {
        ThpHost {
            enabled: enabled.clone(),
            sizes: sizes
                .iter()
                .map(|(kb, knob)| ThpSize {
                    kb: *kb,
                    knob: knob.clone(),
                })
                .collect(),
            pmd_kb: 2048,
        }
    }

    /// Every size by its effective knob, in all combinations of two sizes and the common one.
    #[test]
    fn what_each_knob_leaves_to_the_unasked() {
        use KnobValue::{Always, Inherit, Madvise, Never, Other};
        let words = [Always, Madvise, Never, Inherit, Other("odd".to_owned())];
        for enabled in [Always, Madvise, Never, Other("odd".to_owned())] {
            for small in &words {
                for large in &words {
                    let host = host(&enabled, &[(64, small.clone()), (2048, large.clone())]);
                    let found = Unadvised::of(&host);
                    let gets =
                        |knob: &KnobValue| *knob == Always || *knob == Inherit && enabled == Always;
                    let mut wanted = Vec::new();
                    wanted.extend(gets(small).then_some(64 << 10));
                    wanted.extend(gets(large).then_some(2 << 20));
                    assert_eq!(found.anonymous, wanted, "{host:?}");
                    let odd = [&enabled, small, large]
                        .into_iter()
                        .any(|knob| matches!(knob, Other(_)));
                    assert_eq!(found.more, odd || enabled == Always, "{host:?}");
                }
            }
        }
    }

    #[test]
    fn kernels_with_one_knob() {
        let found = Unadvised::of(&host(&KnobValue::Always, &[]));
        assert_eq!(found.anonymous, [2 << 20]);
        assert!(Unadvised::of(&host(&KnobValue::Madvise, &[])).is_nothing());
    }

    #[test]
    fn shared_memory_by_its_own_knobs() {
        use Word::{Advise, Always, Deny, Force, Inherit, Never, Odd, WithinSize};
        for (global, sizes, more) in [
            (Never, &[Never, Inherit][..], false),
            (Advise, &[Never, Inherit, Advise], false),
            (Always, &[Never, Never], false),
            (Always, &[Never, Inherit], true),
            (WithinSize, &[Inherit], true),
            (Never, &[WithinSize], true),
            (Never, &[Always], true),
            (Never, &[Odd], true),
            (Odd, &[Inherit], true),
            (Force, &[Never], true),
            (Deny, &[Always], false),
            // Kernels without knobs for each size.
            (Always, &[], true),
            (Advise, &[], false),
        ] {
            let shmem = Shmem {
                there: true,
                global,
                sizes: sizes.to_vec(),
            };
            assert_eq!(shmem.gives_more(), more, "{shmem:?}");
        }
    }

    #[test]
    fn the_knobs_of_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let none = Shmem::read(dir.path());
        assert_eq!((none.there, none.gives_more()), (false, false));
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("hugepages-64kB")).unwrap();
        write("enabled", "always [madvise] never\n");
        write(
            "shmem_enabled",
            "always within_size advise [never] deny force\n",
        );
        write(
            "hugepages-64kB/shmem_enabled",
            "always [inherit] within_size advise never\n",
        );
        let read = Shmem::read(dir.path());
        assert_eq!(
            (read.global, &read.sizes[..]),
            (Word::Never, &[Word::Inherit][..])
        );
        write("hugepages-64kB/shmem_enabled", "[sometimes] never\n");
        assert!(Shmem::read(dir.path()).gives_more());
    }

    #[test]
    fn mounts() {
        let line = |options: &str| {
            format!("30 1 0:26 / /mnt rw - tmpfs tmpfs rw,size=1k{options}\n").into_bytes()
        };
        assert!(!mounts_give_more(&line("")));
        assert!(!mounts_give_more(&line(",huge=advise")));
        assert!(mounts_give_more(&line(",huge=always")));
        assert!(mounts_give_more(&line(",huge=within_size")));
        assert!(mounts_give_more(&line(",huge=odd")));
        assert!(!mounts_give_more(
            b"30 1 8:1 / / rw - ext4 /dev/a rw,huge=always\n"
        ));
    }

    #[test]
    fn room_for_a_whole_page() {
        let unadvised = Unadvised {
            anonymous: vec![2 << 20],
            ..Unadvised::default()
        };
        assert!(unadvised.fits(0x20_0000, 0x40_0000));
        assert!(unadvised.fits(0x1f_f000, 0x40_0000));
        assert!(!unadvised.fits(0x20_1000, 0x40_0000));
        assert!(!unadvised.fits(0x20_1000, 0x40_1000));
        assert!(!unadvised.fits(u64::MAX - 0x1000, u64::MAX));
        let nonsense = Unadvised {
            anonymous: vec![0, 3000],
            ..Unadvised::default()
        };
        assert!(!nonsense.fits(0, u64::MAX));
    }
}
