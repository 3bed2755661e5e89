//! Whether this kernel gives back what is all zero when it splits a huge page, by trying it on
//! memory of our own.

use mctl_sys::remembered::Remembered;
use std::os::fd::AsFd;

use mctl_abi::Errno;
use mctl_sys::raw::madvise::{Range, madvise_self};
use mctl_sys::raw::pagemap::{Categories, PageRegion, Scan, scan};
use mctl_sys::raw::scratch::Scratch;

use super::{HUGE, PAGE};
use crate::error::{Error, Result};
use crate::op::advice::Advice;

/// So often a huge page of our own is asked for: its pages may be in use for a moment.
const ATTEMPTS: u32 = 5;
/// What is written, so that a loss would be seen.
const MARK: u8 = 0x5a;

/// Why it could not be done, or that it was.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trial {
    GivesBack,
    /// It splits and keeps every page (before Linux 6.12).
    Keeps,
    /// No huge page was to be had to try it with.
    NoHugePage(Errno),
    /// The page tables cannot be looked at (before Linux 6.7).
    Blind(Errno),
    /// It stayed huge.
    StaysHuge,
}

/// Makes sure that a split gives back what is all zero. Asked once; nothing but our own memory is
/// touched.
///
/// # Errors
/// `EOPNOTSUPP`: this kernel keeps the pages, or it cannot be found out here. `ENOMEM`, `EAGAIN`,
/// `EBUSY`: no huge page was to be had to try it with, just now.
pub fn probe() -> Result<()> {
    static GIVES_BACK: Remembered<()> = Remembered::new();
    if GIVES_BACK.get().is_some() {
        return Ok(());
    }
    verdict(&trial())?;
    GIVES_BACK.set(());
    Ok(())
}

/// What a trial says of the kernel. That the host is short of huge pages says nothing of it.
fn verdict(trial: &Trial) -> Result<()> {
    const NO_HUGE_PAGE: &str =
        "it is tried on memory of our own first, and no huge page was to be had for that";
    let why = match trial {
        Trial::GivesBack => return Ok(()),
        Trial::NoHugePage(errno @ (Errno::ENOMEM | Errno::EAGAIN | Errno::EBUSY)) => {
            return Err(Error::Read {
                what: "split".to_owned(),
                why: format!("{NO_HUGE_PAGE} just now; try again"),
                errno: *errno,
            });
        }
        Trial::Keeps => {
            "a split by this kernel keeps every page, also those that are all zero (Linux 6.12 \
             gives them back); a split would only cost the huge pages"
                .to_owned()
        }
        Trial::StaysHuge => "this kernel split no huge page of our own when asked to".to_owned(),
        Trial::NoHugePage(errno) => format!("{NO_HUGE_PAGE}: {errno}"),
        Trial::Blind(errno) => {
            format!("the kernel does not show which pages are huge (PAGEMAP_SCAN: {errno})")
        }
    };
    Err(Error::Unsupported {
        what: "split".to_owned(),
        why,
    })
}

fn trial() -> Trial {
    match attempt() {
        Ok(trial) => trial,
        Err(errno) => Trial::Blind(errno),
    }
}

fn attempt() -> Result<Trial, Errno> {
    let size = usize::try_from(HUGE).map_err(|_| Errno::EOVERFLOW)?;
    let mut memory = Scratch::new(size)?;
    let range = memory.range();
    for page in (0..size).step_by(PAGE) {
        memory.write(page, 0);
    }
    memory.write(0, MARK);
    let pagemap = std::fs::File::open("/proc/self/pagemap")
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    let of = |category| bytes_of(pagemap.as_fd(), range, category);
    let mut refused = Errno::EAGAIN;
    for _ in 0..ATTEMPTS {
        if of(Categories::HUGE)? == HUGE {
            break;
        }
        if let Err(errno) = madvise_self(range, Advice::COLLAPSE.number()) {
            refused = errno;
        }
    }
    if of(Categories::HUGE)? < HUGE {
        return Ok(Trial::NoHugePage(refused));
    }
    let last = Range {
        start: range.start + HUGE - PAGE as u64,
        len: PAGE as u64,
    };
    for _ in 0..ATTEMPTS {
        madvise_self(last, Advice::COLD.number())?;
        if of(Categories::HUGE)? == 0 {
            break;
        }
    }
    if of(Categories::HUGE)? > 0 {
        return Ok(Trial::StaysHuge);
    }
    let kept_mark = memory.read(0) == MARK;
    // A page or two may be kept for reasons of their own; a kernel that keeps, keeps all.
    Ok(if kept_mark && of(Categories::PFNZERO)? > HUGE / 2 {
        Trial::GivesBack
    } else {
        Trial::Keeps
    })
}

/// How many bytes of a range are in a category.
pub(super) fn bytes_of(
    pagemap: std::os::fd::BorrowedFd<'_>,
    range: Range,
    category: Categories,
) -> Result<u64, Errno> {
    let end = range.start.saturating_add(range.len);
    let mut room = [PageRegion::default(); 64];
    let (mut at, mut bytes) = (range.start, 0);
    while at < end {
        let asked = Scan {
            start: at,
            end,
            any_of: category,
            told: category,
        };
        let found = scan(pagemap, asked, &mut room)?;
        let regions = room.get(..found.regions).unwrap_or_default();
        bytes += regions.iter().map(|r| r.end - r.start).sum::<u64>();
        if found.walk_end <= at {
            break;
        }
        at = found.walk_end;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_tried_and_answers() {
        match trial() {
            // The host may be out of huge pages at one moment and not at the next.
            Trial::GivesBack | Trial::NoHugePage(_) => {}
            other => {
                let error = probe().unwrap_err();
                assert_eq!(error.errno(), Errno::EOPNOTSUPP, "{other:?}: {error}");
            }
        }
    }

    #[test]
    fn a_host_short_of_huge_pages_is_not_taken_for_a_kernel_that_cannot() {
        assert!(verdict(&Trial::GivesBack).is_ok());
        for errno in [Errno::ENOMEM, Errno::EAGAIN, Errno::EBUSY] {
            let error = verdict(&Trial::NoHugePage(errno)).unwrap_err();
            assert_eq!(error.errno(), errno, "{error}");
        }
        for trial in [
            Trial::Keeps,
            Trial::StaysHuge,
            Trial::NoHugePage(Errno::EINVAL),
            Trial::Blind(Errno::ENOTTY),
        ] {
            let error = verdict(&trial).unwrap_err();
            assert_eq!(error.errno(), Errno::EOPNOTSUPP, "{trial:?}: {error}");
        }
    }
}
