//! "Is it working?": how much memory is in huge pages, per mapping and in all.
//!
//! The numbers are the kernel's own. `AnonHugePages` counts memory that is mapped by a PMD, that
//! is in huge pages of the full size (2 MiB on x86-64); pages of the sizes between (mTHP) and huge
//! pages that are mapped in part count as small, as in every other tool.
//!
//! Source: `proc_pid_smaps(5)`, `proc_pid_smaps_rollup(5)`.

mod bytes;
mod vma;

use mctl_abi::Errno;
use mctl_sys::inject::Refusal;
use mctl_sys::procfs::counters::Counters;
use mctl_sys::procfs::smaps_reader::SmapsReader;
use mctl_sys::procfs::smaps_rollup;
use mctl_sys::procfs::status::Status;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::see::address_space::{ShmemDevices, smaps_error};
use crate::target::{Target, read_all};
use crate::wait::one_task;

pub use bytes::Bytes;
pub use vma::{Vma, advice_word, kind_word, printable_name};

/// How much memory there is, and how much of it is huge. All sizes are bytes; in JSON too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Coverage {
    /// What is mapped, populated or not.
    pub size: Bytes,
    /// What is present, hugetlb pages not counted.
    pub rss: Bytes,
    /// The anonymous part of it: pages that belong to no file, private copies of file pages
    /// included, the zero page not.
    pub anonymous: Bytes,
    /// The part of `anonymous` that is in huge pages of the full size.
    pub anon_huge: Bytes,
    /// The shmem part of `rss`: memfd, shared anonymous memory, System V, tmpfs.
    pub shmem: Bytes,
    /// The part of `shmem` that is in huge pages of the full size.
    pub shmem_huge: Bytes,
    /// What is present of other files and in huge pages of the full size.
    pub file_huge: Bytes,
    /// Hugetlb pages, which are no transparent huge pages and not in `rss`.
    pub hugetlb: Bytes,
    /// What is on swap, anonymous and shmem. It is not in `rss`.
    pub swap: Bytes,
}

impl Coverage {
    /// The sum of an address space, from smaps_rollup. It costs a walk over the page tables, but
    /// next to no text.
    ///
    /// `shmem` comes from the process's counters (`RssShmem`), which may be some pages behind.
    ///
    /// ```
    /// use mctl::{Target, coverage::Coverage};
    ///
    /// let own = Coverage::total(&Target::own()?)?;
    /// assert!(own.rss >= own.anonymous && own.anonymous >= own.anon_huge);
    /// assert!(own.percent().is_some_and(|percent| percent <= 100.0));
    /// # Ok::<(), mctl::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ESRCH` it ended, or has no memory (kernel thread); `EACCES`/`EPERM` not ours to read;
    /// `ENOENT` before Linux 4.14.
    pub fn total(target: &Target) -> Result<Coverage> {
        target.look_in_one_task(|| through_a_thread(target, |prefix| total_of(target, prefix)))
    }

    /// [`total`](Coverage::total) of many processes, in their order. It takes less time than one by one.
    #[must_use]
    pub fn totals(targets: &[Target]) -> Vec<Result<Coverage>> {
        one_task::map(targets, Target::is_own, Coverage::total)
    }

    /// Mapping by mapping, lowest address first. Returns the sum.
    ///
    /// The listing is read as a stream, in some hundred KiB of memory whatever the number of
    /// mappings. It is not one moment's picture of a process that is mapping meanwhile. An error
    /// of the visitor ends the walk and is returned.
    ///
    /// ```
    /// use mctl::{Target, coverage::Coverage};
    ///
    /// let mut largest = (0, String::new());
    /// let sum = Coverage::by_vma(&Target::own()?, |vma| {
    ///     largest = largest.clone().max((vma.coverage.rss.0, vma.printable_name()));
    ///     Ok::<(), mctl::Error>(())
    /// })?;
    /// assert!(sum.rss.0 >= largest.0);
    /// # Ok::<(), mctl::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Coverage::total`], and the visitor's.
    pub fn by_vma<E: From<Error>>(
        target: &Target,
        mut visitor: impl FnMut(&Vma<'_>) -> Result<(), E>,
    ) -> Result<Coverage, E> {
        each_vma(target, |_, vma| visitor(vma))
    }

    /// What transparent huge pages are for: the anonymous and the shared memory that is present.
    #[must_use]
    pub fn could_be_huge(&self) -> Bytes {
        self.anonymous + self.shmem
    }

    /// The part of [`could_be_huge`](Coverage::could_be_huge) that is in huge pages of the full size.
    #[must_use]
    pub fn huge(&self) -> Bytes {
        self.anon_huge + self.shmem_huge
    }

    /// The coverage: how much of what could be huge is, in per cent. `None` where there is nothing. Every
    /// command means this one.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        self.huge().percent_of(self.could_be_huge())
    }

    /// The anonymous memory that is not in huge pages.
    #[must_use]
    pub const fn anon_small(&self) -> Bytes {
        self.anonymous.less(self.anon_huge)
    }

    /// The shared memory that is not in huge pages.
    #[must_use]
    pub const fn shmem_small(&self) -> Bytes {
        self.shmem.less(self.shmem_huge)
    }

    /// Adds another part. Sums saturate.
    pub fn add(&mut self, other: &Coverage) {
        self.size += other.size;
        self.rss += other.rss;
        self.anonymous += other.anonymous;
        self.anon_huge += other.anon_huge;
        self.shmem += other.shmem;
        self.shmem_huge += other.shmem_huge;
        self.file_huge += other.file_huge;
        self.hugetlb += other.hugetlb;
        self.swap += other.swap;
    }

    /// All that follows from the counters alone.
    fn from_counters(counters: &Counters) -> Coverage {
        let hugetlb = counters
            .shared_hugetlb()
            .saturating_add(counters.private_hugetlb());
        Coverage {
            size: Bytes::ZERO,
            rss: Bytes::from_kb(counters.rss()),
            anonymous: Bytes::from_kb(counters.anonymous()),
            anon_huge: Bytes::from_kb(counters.anon_huge_pages()),
            shmem: Bytes::ZERO,
            shmem_huge: Bytes::from_kb(counters.shmem_pmd_mapped()),
            file_huge: Bytes::from_kb(counters.file_pmd_mapped()),
            hugetlb: Bytes::from_kb(hugetlb),
            swap: Bytes::from_kb(counters.swap()),
        }
    }
}

/// `None`: the thread has no address space any more.
fn total_of(target: &Target, prefix: &str) -> Result<Option<Coverage>> {
    let file = format!("{prefix}smaps_rollup");
    let Some(text) = unless_gone(target, read_all(target, &file))? else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(None);
    }
    let unexpected = |file: &str, why: String| Error::Read {
        what: format!("/proc/{}/{file}", target.pid()),
        why,
        errno: Errno::EIO,
    };
    let rollup = smaps_rollup::parse(&text).map_err(|e| unexpected(&file, e.to_string()))?;
    let mut coverage = Coverage::from_counters(&rollup.counters);
    let text = read_all(target, &format!("{prefix}status"))?;
    let status = Status::parse(&text).map_err(|e| unexpected("status", e.to_string()))?;
    coverage.size = Bytes::from_kb(status.vm_size.unwrap_or(0));
    coverage.shmem = Bytes::from_kb(status.rss_shmem.unwrap_or(0)).max(coverage.shmem_huge);
    Ok(Some(coverage))
}

/// As [`Coverage::by_vma`]. The visitor is also given the path to the thread that shows the
/// memory, to put before a file's name.
pub(crate) fn each_vma<E: From<Error>>(
    target: &Target,
    mut visitor: impl FnMut(&str, &Vma<'_>) -> Result<(), E>,
) -> Result<Coverage, E> {
    let shmem = shmem_devices(target)?;
    through_a_thread(target, |prefix| walk(target, prefix, &shmem, &mut visitor))
}

/// `None`: the thread has no address space any more, and nothing was visited.
fn walk<E: From<Error>>(
    target: &Target,
    prefix: &str,
    shmem: &ShmemDevices,
    visitor: &mut impl FnMut(&str, &Vma<'_>) -> Result<(), E>,
) -> Result<Option<Coverage>, E> {
    let opened = target.open_proc(&format!("{prefix}smaps"));
    let Some(file) = unless_gone(target, opened)? else {
        return Ok(None);
    };
    let mut reader = SmapsReader::with(file, vma::WANTED);
    let mut sum = None;
    while let Some(entry) = reader.next_entry().map_err(|e| smaps_error(target, &e))? {
        let vma = Vma::from_smaps(&entry, shmem);
        sum.get_or_insert_with(Coverage::default).add(&vma.coverage);
        visitor(prefix, &vma)?;
    }
    if !target.is_alive() {
        return Err(Error::NoProcess { pid: target.pid() }.into());
    }
    Ok(sum)
}

/// `ESRCH` of a process that lives means a thread without an address space.
fn unless_gone<T>(target: &Target, result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.errno() == Errno::ESRCH && target.is_alive() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads by the process's first thread; where that has exited and others run, by another one.
/// `attempt` is given the path to put before a file's name.
pub(crate) fn through_a_thread<T, E: From<Error>>(
    target: &Target,
    mut attempt: impl FnMut(&str) -> Result<Option<T>, E>,
) -> Result<T, E> {
    crate::with_room(|| {
        if let Some(value) = attempt("")? {
            return Ok(value);
        }
        let prefix = live_thread(target)?;
        attempt(&prefix)?.ok_or_else(|| Error::NoProcess { pid: target.pid() }.into())
    })
}

/// The path to a thread that has an address space, such as `task/12/`.
fn live_thread(target: &Target) -> Result<String> {
    let dir = format!("/proc/{}/task", target.pid());
    let tasks = std::fs::read_dir(&dir).map_err(|error| match target.is_alive() {
        true => Error::read(dir, &error),
        false => Error::NoProcess { pid: target.pid() },
    })?;
    for task in tasks.flatten() {
        let prefix = format!("task/{}/", task.file_name().to_string_lossy());
        let Ok(text) = read_all(target, &format!("{prefix}status")) else {
            continue;
        };
        if Status::parse(&text).is_ok_and(|status| status.vm_size.is_some()) {
            return Ok(prefix);
        }
    }
    match target.is_alive() {
        true => Err(Error::inject(target.pid(), Refusal::KernelThread.into())),
        false => Err(Error::NoProcess { pid: target.pid() }),
    }
}

/// The target's; where its first thread has exited, and the list of mounts with it, our own.
pub(crate) fn shmem_devices(target: &Target) -> Result<ShmemDevices> {
    match ShmemDevices::of(target) {
        Err(error) if error.errno() == Errno::EINVAL && target.is_alive() => {
            ShmemDevices::of(&Target::own()?)
        }
        result => result,
    }
}
