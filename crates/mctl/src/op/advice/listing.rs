//! What a target has mapped, and how far its user space goes.

use mctl_sys::remembered::Remembered;

use mctl_abi::Errno;
use mctl_sys::bounded::ProcFile;
use mctl_sys::procfs::ReadError;
use mctl_sys::procfs::maps::{MapLine, MapsReader};
use mctl_sys::raw::madvise::{Range, process_madvise};
use std::os::fd::AsFd;

use super::kind::Advice;
use super::pieces::Mapped;
use crate::error::{Error, Result};
use crate::see::address_space::Kind;
use crate::see::coverage::{each_vma, through_a_thread};
use crate::target::Target;

/// The ends of user space that there are, largest first: five and four levels of page tables on
/// x86-64; 52 to 39 bits on aarch64.
const ENDS: &[u64] = if cfg!(target_arch = "aarch64") {
    &[1 << 52, 1 << 48, 1 << 47, 1 << 42, 1 << 39]
} else {
    &[(1 << 56) - 4096, (1 << 47) - 4096]
};

/// The end of user space here. The kernel refuses a range beyond it with `EFAULT`, before it looks
/// at what is mapped (lib/iov_iter.c, `__import_iovec()`).
pub(super) fn task_size() -> u64 {
    static SIZE: Remembered<u64> = Remembered::new();
    SIZE.get_or_find(|| {
        let smallest = ENDS.last().copied().unwrap_or(0);
        let Ok(own) = Target::own() else {
            return smallest;
        };
        let is_within = |end: u64| {
            let last = Range {
                start: end - 4096,
                len: 4096,
            };
            let answer = process_madvise(own.as_fd(), &[last], Advice::COLD.number());
            matches!(answer, Ok(_) | Err(Errno::ENOMEM | Errno::EINVAL))
        };
        ENDS.iter()
            .copied()
            .find(|end| is_within(*end))
            .unwrap_or(smallest)
    })
}

/// Lists a target's mappings below the end of user space.
pub(super) fn listing(target: &Target) -> Result<Mapped> {
    let mut mappings = Vec::new();
    each_span(target, |start, end| mappings.push((start, end)))?;
    Ok(Mapped::new(mappings))
}

/// Calls `see` with every mapping that advice can be given to.
pub(crate) fn each_mapping(target: &Target, mut see: impl FnMut(&MapLine<'_>)) -> Result<()> {
    let user_end = task_size();
    read(target, |reader| {
        let mut any = false;
        reader.each_line(|line| {
            // [vsyscall] is no mapping of the process's own.
            if line.start < user_end {
                any = true;
                see(line);
            }
        })?;
        Ok(any)
    })
}

/// As [`each_mapping`], with the ends of each only, which is quicker.
pub(super) fn each_span(target: &Target, mut see: impl FnMut(u64, u64)) -> Result<()> {
    let user_end = task_size();
    read(target, |reader| {
        let mut any = false;
        reader.each_span(|start, end| {
            if start < user_end {
                any = true;
                see(start, end);
            }
        })?;
        Ok(any)
    })
}

/// Memory that most advice means nothing for: `[vvar]` and its like, device memory, hugetlb pages.
/// Looked for only once something failed.
pub(super) struct Apart<'t> {
    target: &'t Target,
    by_flags: Option<Vec<(u64, u64)>>,
}

impl<'t> Apart<'t> {
    pub(super) fn new(target: &'t Target) -> Apart<'t> {
        Apart {
            target,
            by_flags: None,
        }
    }

    /// Whether a range lies in such a mapping.
    pub(super) fn holds(&mut self, range: Range) -> Result<bool> {
        // By name first: every process has a `[vvar]`, and the flags cost a walk over the pages.
        let mut named = false;
        each_mapping(self.target, |line| {
            named |= line.start <= range.start
                && range.start < line.end
                && (line.name.starts_with(b"[vvar") || line.name == b"[vdso]");
        })?;
        if named {
            return Ok(true);
        }
        let spans = match &self.by_flags {
            Some(spans) => spans,
            None => self.by_flags.insert(Apart::by_flags(self.target)?),
        };
        Ok(spans
            .iter()
            .any(|(start, end)| *start <= range.start && range.start < *end))
    }

    fn by_flags(target: &Target) -> Result<Vec<(u64, u64)>> {
        let mut spans = Vec::new();
        each_vma(target, |_, vma| {
            if matches!(vma.kind, Kind::Hugetlb | Kind::Special) {
                spans.push((vma.start, vma.end));
            }
            Ok::<(), Error>(())
        })?;
        Ok(spans)
    }
}

/// `all` reads a listing and says whether anything is in it.
fn read(
    target: &Target,
    mut all: impl FnMut(&mut MapsReader<ProcFile>) -> std::result::Result<bool, ReadError>,
) -> Result<()> {
    // The first thread may have exited while others run: its own listing is empty then.
    through_a_thread(target, |prefix| {
        let file = target.open_proc(&format!("{prefix}maps"))?;
        let any = all(&mut MapsReader::new(file))
            .map_err(|error| crate::see::address_space::smaps_error(target, &error))?;
        if !target.is_alive() {
            return Err(Error::NoProcess { pid: target.pid() });
        }
        Ok(any.then_some(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_space_ends_above_everything_that_is_ours() {
        let end = task_size();
        assert!(ENDS.contains(&end));
        let own = Target::own().unwrap();
        let mut last = 0;
        each_mapping(&own, |line| last = line.end).unwrap();
        assert!(last > 0 && last <= end, "{last:#x} {end:#x}");
        let beyond = Range {
            start: end,
            len: 4096,
        };
        let answer = process_madvise(own.as_fd(), &[beyond], Advice::COLD.number());
        if answer != Err(Errno::ENOSYS) {
            assert_eq!(answer, Err(Errno::EFAULT));
        }
    }
}
