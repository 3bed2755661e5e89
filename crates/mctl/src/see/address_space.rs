//! A look at what a target has mapped, as far as `plan()` needs it: the runs of memory that
//! advice on huge pages is for.
//!
//! It is read as a stream and kept small: two numbers a run, whatever the number of mappings.

use std::collections::BTreeSet;
use std::io::Read;

use mctl_sys::procfs::ReadError;
use mctl_sys::procfs::counters::Want;
use mctl_sys::procfs::maps::{Dev, MapLine};
use mctl_sys::procfs::mountinfo::tmpfs_mounts;
use mctl_sys::procfs::smaps_reader::SmapsReader;
use mctl_sys::procfs::vmflags::{KnownFlags, VmFlag};
use mctl_sys::raw::madvise::Range;

use crate::error::{Error, Result};
use crate::see::coverage::through_a_thread;
use crate::see::mappings::{MappingCounts, Override};
use crate::target::Target;
use mctl_abi::Errno;

/// What a mapping is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Private anonymous memory: heap, stacks, mmap(MAP_PRIVATE | MAP_ANONYMOUS).
    Anonymous,
    /// Shared memory: memfd, MAP_SHARED | MAP_ANONYMOUS, System V, files on tmpfs.
    Shmem,
    /// Any other file.
    File,
    /// hugetlb pages, which are no transparent huge pages.
    Hugetlb,
    /// vDSO, vvar, device memory and the like.
    Special,
}

/// The devices whose files are shared memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShmemDevices(BTreeSet<Dev>);

impl ShmemDevices {
    /// Those of a target: the tmpfs mounts that it sees, and the kernel's own mount behind memfd
    /// and shared anonymous memory.
    ///
    /// # Errors
    /// The target's mounts cannot be read.
    pub fn of(target: &Target) -> Result<ShmemDevices> {
        let text = through_a_thread(target, |prefix| {
            match crate::target::read_all(target, &format!("{prefix}mountinfo")) {
                Ok(text) => Ok(Some(text)),
                // A thread that has exited sees no mounts any more.
                Err(error)
                    if matches!(error.errno(), Errno::EINVAL | Errno::ESRCH)
                        && target.is_alive() =>
                {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })?;
        let mut devices: BTreeSet<Dev> = tmpfs_mounts(&text)
            .flatten()
            .map(|mount| mount.dev)
            .collect();
        devices.extend(kernels_own());
        Ok(ShmemDevices(devices))
    }

    /// A given set.
    #[must_use]
    pub fn from_devices(devices: impl IntoIterator<Item = Dev>) -> ShmemDevices {
        ShmemDevices(devices.into_iter().collect())
    }

    fn has(&self, dev: Dev) -> bool {
        self.0.contains(&dev)
    }
}

/// The device of the kernel's internal tmpfs mount, taken from a memfd of our own.
fn kernels_own() -> Option<Dev> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let memfd = rustix::fs::memfd_create("mctl-probe", flags).ok()?;
    let dev = rustix::fs::fstat(&memfd).ok()?.st_dev;
    Some(Dev {
        major: rustix::fs::major(dev),
        minor: rustix::fs::minor(dev),
    })
}

/// Tells what a mapping is made of.
#[must_use]
pub fn kind(vma: &MapLine<'_>, flags: KnownFlags, shmem: &ShmemDevices) -> Kind {
    if flags.has(VmFlag::Hugetlb) {
        return Kind::Hugetlb;
    }
    if flags.has(VmFlag::PfnMap) || flags.has(VmFlag::Io) || flags.has(VmFlag::MixedMap) {
        return Kind::Special;
    }
    let no_file = vma.inode == 0 && vma.dev == Dev::default();
    if no_file {
        let anonymous = vma.name.is_empty()
            || vma.name == b"[heap]"
            || vma.name.starts_with(b"[stack")
            || vma.name.starts_with(b"[anon:");
        return if anonymous && !vma.perms.shared {
            Kind::Anonymous
        } else {
            Kind::Special
        };
    }
    if shmem.has(vma.dev) {
        Kind::Shmem
    } else {
        Kind::File
    }
}

/// Which mappings a look is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Those for which the program did not choose NOHUGEPAGE.
    Willing,
    /// Those as well.
    All,
    /// Only those: the rest follows the policy of the kernel.
    Refusing,
}

impl From<Override> for Wanted {
    fn from(override_advice: Override) -> Wanted {
        match override_advice {
            Override::Respect => Wanted::Willing,
            Override::Advice => Wanted::All,
        }
    }
}

/// What advice on huge pages would be for, in one address space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSpace {
    runs: Vec<Range>,
    counts: MappingCounts,
    hugepage_mappings: u64,
    mappings: u64,
}

impl AddressSpace {
    /// Reads a target's mappings.
    ///
    /// # Errors
    /// `ESRCH` it ended; `EACCES`/`EPERM` not ours to read.
    pub fn read(target: &Target, override_advice: Override) -> Result<AddressSpace> {
        AddressSpace::look(target, override_advice.into())
    }

    /// Reads only those mappings of private anonymous or shared memory for which NOHUGEPAGE was
    /// chosen: what a kernel that keeps the policy "always" itself leaves alone.
    ///
    /// # Errors
    /// As [`AddressSpace::read`].
    pub fn read_refusing(target: &Target) -> Result<AddressSpace> {
        AddressSpace::look(target, Wanted::Refusing)
    }

    fn look(target: &Target, wanted: Wanted) -> Result<AddressSpace> {
        let shmem = ShmemDevices::of(target)?;
        let space = through_a_thread(target, |prefix| {
            let file = match target.open_proc(&format!("{prefix}smaps")) {
                Ok(file) => file,
                Err(error) if error.errno() == Errno::ESRCH && target.is_alive() => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let space = AddressSpace::take_in(file, &shmem, wanted)
                .map_err(|error| smaps_error(target, &error))?;
            // Nothing mapped: a thread that has exited while others run.
            Ok((space.mappings > 0).then_some(space))
        })?;
        if !target.is_alive() {
            return Err(Error::NoProcess { pid: target.pid() });
        }
        Ok(space)
    }

    /// Takes in a smaps listing.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn from_smaps<R: Read>(
        smaps: R,
        shmem: &ShmemDevices,
        override_advice: Override,
    ) -> Result<AddressSpace, ReadError> {
        AddressSpace::take_in(smaps, shmem, override_advice.into())
    }

    fn take_in<R: Read>(
        smaps: R,
        shmem: &ShmemDevices,
        wanted: Wanted,
    ) -> Result<AddressSpace, ReadError> {
        let mut reader = SmapsReader::with(smaps, Want::NONE);
        let mut space = AddressSpace::default();
        let mut open: Option<OpenRun> = None;
        while let Some(entry) = reader.next_entry()? {
            let flags = entry
                .flags
                .map_or_else(KnownFlags::default, |flags| flags.known());
            let kind = kind(&entry.vma, flags, shmem);
            space.see(
                entry.vma.start,
                entry.vma.end,
                kind,
                flags,
                wanted,
                &mut open,
            );
        }
        space.close(open.take());
        Ok(space)
    }

    fn see(
        &mut self,
        start: u64,
        end: u64,
        kind: Kind,
        flags: KnownFlags,
        wanted: Wanted,
        open: &mut Option<OpenRun>,
    ) {
        self.mappings += 1;
        if flags.has(VmFlag::HugePage) {
            self.hugepage_mappings += 1;
        }
        let no_huge = flags.has(VmFlag::NoHugePage);
        let wanted = match kind {
            Kind::Special | Kind::Hugetlb => {
                self.counts.skipped_special += 1;
                false
            }
            Kind::File => {
                self.counts.skipped_file += 1;
                false
            }
            Kind::Anonymous | Kind::Shmem if no_huge && wanted == Wanted::Willing => {
                self.counts.skipped_nohugepage += 1;
                false
            }
            Kind::Anonymous | Kind::Shmem => no_huge || wanted != Wanted::Refusing,
        };
        if !wanted {
            self.close(open.take());
            return;
        }
        let already = flags.has(VmFlag::HugePage);
        let run = match open.take() {
            Some(run) if run.end == start => OpenRun { end, ..run },
            other => {
                self.close(other);
                OpenRun {
                    start,
                    end,
                    changes: 0,
                    already: 0,
                }
            }
        };
        *open = Some(OpenRun {
            changes: run.changes + u64::from(!already),
            already: run.already + u64::from(already),
            ..run
        });
    }

    fn close(&mut self, run: Option<OpenRun>) {
        let Some(run) = run else { return };
        self.counts.already += run.already;
        if run.changes > 0 {
            self.counts.runs += 1;
            self.counts.changed += run.changes;
            self.runs.push(Range {
                start: run.start,
                len: run.end.saturating_sub(run.start),
            });
        }
    }

    /// The stretches of neighbouring mappings to advise: private anonymous or shared memory,
    /// without NOHUGEPAGE unless that was overridden, with at least one mapping that is not
    /// advised yet.
    #[must_use]
    pub fn runs(&self) -> &[Range] {
        &self.runs
    }

    /// How many mappings were counted to what.
    #[must_use]
    pub fn counts(&self) -> &MappingCounts {
        &self.counts
    }

    /// How many mappings carry HUGEPAGE advice, whoever gave it.
    #[must_use]
    pub fn hugepage_mappings(&self) -> u64 {
        self.hugepage_mappings
    }
}

#[derive(Clone, Copy, Debug)]
struct OpenRun {
    start: u64,
    end: u64,
    changes: u64,
    already: u64,
}

pub(crate) fn smaps_error(target: &Target, error: &ReadError) -> Error {
    if !target.is_alive() {
        return Error::NoProcess { pid: target.pid() };
    }
    let errno = match error {
        ReadError::Io(error) => error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        _ => Errno::EIO,
    };
    Error::Read {
        what: format!("/proc/{}/smaps", target.pid()),
        why: error.to_string(),
        errno,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listing with one mapping a line: `start-end name flags`.
    fn listing(lines: &[(&str, &str, &str)]) -> Vec<u8> {
        let mut text = Vec::new();
        for (range, rest, flags) in lines {
            text.extend_from_slice(
                format!("{range} {rest}\nSize: 4 kB\nVmFlags: {flags} \n").as_bytes(),
            );
        }
        text
    }

    const ANON: &str = "rw-p 00000000 00:00 0 ";
    const SHM: &str = "rw-s 00000000 00:01 77                         /memfd:x (deleted)";
    const FILE: &str = "rw-p 00000000 08:01 99                         /usr/bin/x";

    fn read(lines: &[(&str, &str, &str)], how: Override) -> AddressSpace {
        let shmem = ShmemDevices::from_devices([Dev { major: 0, minor: 1 }]);
        AddressSpace::from_smaps(&listing(lines)[..], &shmem, how).unwrap()
    }

    #[test]
    fn neighbours_make_one_run_and_what_must_be_left_alone_ends_it() {
        let lines = [
            ("1000-2000", ANON, "rd wr"),
            ("2000-3000", SHM, "rd wr"),
            ("3000-4000", ANON, "rd wr nh"),
            ("4000-5000", ANON, "rd wr"),
            ("5000-6000", FILE, "rd wr"),
            ("8000-9000", ANON, "rd wr hg"),
            ("9000-a000", ANON, "rd wr"),
            ("b000-c000", ANON, "rd wr hg"),
        ];
        let space = read(&lines, Override::Respect);
        let runs: Vec<(u64, u64)> = space.runs().iter().map(|r| (r.start, r.len)).collect();
        assert_eq!(runs, [(0x1000, 0x2000), (0x4000, 0x1000), (0x8000, 0x2000)]);
        let counts = space.counts();
        assert_eq!((counts.runs, counts.changed, counts.already), (3, 4, 2));
        assert_eq!((counts.skipped_nohugepage, counts.skipped_file), (1, 1));
        assert_eq!(space.hugepage_mappings(), 2);
        let all = read(&lines, Override::Advice);
        assert_eq!(all.counts().skipped_nohugepage, 0);
        assert_eq!(
            all.runs()[0],
            Range {
                start: 0x1000,
                len: 0x4000
            }
        );
    }

    #[test]
    fn special_memory_is_left_alone() {
        let lines = [
            (
                "1000-2000",
                "r--p 00000000 00:00 0                          [vvar]",
                "rd pf io",
            ),
            (
                "2000-3000",
                "r-xp 00000000 00:00 0                          [vdso]",
                "rd ex",
            ),
            (
                "3000-4000",
                "rw-p 00000000 00:0f 5                          /anon_hugepage",
                "rd ht",
            ),
            (
                "4000-5000",
                "rw-p 00000000 00:00 0                          [heap]",
                "rd wr",
            ),
            (
                "5000-6000",
                "rw-p 00000000 00:00 0                          [anon:pool]",
                "rd wr",
            ),
            (
                "7000-8000",
                "rw-p 00000000 00:00 0                          [stack]",
                "rd wr gd",
            ),
        ];
        let space = read(&lines, Override::Respect);
        assert_eq!(space.counts().skipped_special, 3);
        assert_eq!(space.counts().changed, 3);
        assert_eq!(space.runs().len(), 2);
    }

    #[test]
    fn only_what_refuses() {
        let lines = [
            ("1000-2000", ANON, "rd wr"),
            ("2000-3000", ANON, "rd wr nh"),
            ("3000-4000", SHM, "rd wr nh"),
            ("4000-5000", FILE, "rd wr nh"),
            ("5000-6000", ANON, "rd wr hg"),
        ];
        let shmem = ShmemDevices::from_devices([Dev { major: 0, minor: 1 }]);
        let listing = listing(&lines);
        let space = AddressSpace::take_in(&listing[..], &shmem, Wanted::Refusing).unwrap();
        let run = Range {
            start: 0x2000,
            len: 0x2000,
        };
        assert_eq!(space.runs(), [run]);
        assert_eq!(
            (space.counts().changed, space.counts().skipped_file),
            (2, 1)
        );
    }

    #[test]
    fn we_can_read_ourselves() {
        let own = Target::own().unwrap();
        let space = AddressSpace::read(&own, Override::Respect).unwrap();
        assert!(space.counts().changed + space.counts().already > 0);
        assert!(space.counts().skipped_file > 0 && space.counts().skipped_special > 0);
    }
}
