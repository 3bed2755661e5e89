//! What was passed over and why, in words.

use mctl::Errno;
use mctl::advise::{Advice, Advised, Skipped};
use mctl::coverage::Bytes;
use serde::Serialize;

/// So many mappings for one reason.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Reason {
    pub(crate) errno: String,
    pub(crate) why: &'static str,
    pub(crate) mappings: u64,
    pub(crate) bytes: Bytes,
}

/// The size of a huge page, as far as it matters for words.
const HUGE: u64 = 2 << 20;

/// The reasons, the most frequent first. Of very many mappings only those that are named count.
pub(crate) fn reasons(advice: Advice, advised: &Advised) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    for skipped in &advised.skipped {
        let (errno, why) = (skipped.errno.to_string(), why(advice, skipped));
        let same = |reason: &&mut Reason| reason.errno == errno && reason.why == why;
        match reasons.iter_mut().find(same) {
            Some(reason) => {
                reason.mappings += 1;
                reason.bytes += Bytes(skipped.len);
            }
            None => reasons.push(Reason {
                errno,
                why,
                mappings: 1,
                bytes: Bytes(skipped.len),
            }),
        }
    }
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.mappings));
    reasons
}

/// What an errno of madvise(2) means for this advice.
pub(crate) fn why(advice: Advice, skipped: &Skipped) -> &'static str {
    match (advice, skipped.errno) {
        (Advice::COLLAPSE, Errno::EINVAL) if !holds_a_huge_page(skipped) => {
            "too small for a huge page"
        }
        (Advice::COLLAPSE, _) => collapse(skipped.errno),
        (Advice::COLD | Advice::PAGEOUT, Errno::EINVAL) => "locked, hugetlb or device memory",
        (_, Errno::EINVAL) => "not for this kind of memory",
        (_, errno) => general(errno),
    }
}

/// mm/khugepaged.c, `madvise_collapse_errno()`. `SCAN_PAGE_RO` is EINVAL too, in 6.1 and 6.12 and no
/// more in 6.18: a block of which no page is writable, as fork leaves it on both sides.
fn collapse(errno: Errno) -> &'static str {
    match errno {
        Errno::EINVAL => {
            "nothing present (or, on older kernels, nothing written since a fork), or not eligible"
        }
        Errno::ENOMEM => "no huge page was to be had",
        Errno::EBUSY => "the memory cgroup is full",
        Errno::EAGAIN => "pages in use, pinned or under I/O just now",
        errno => general(errno),
    }
}

fn general(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOMEM => "not mapped, or no memory for it",
        Errno::EAGAIN => "busy just now; another time it may work",
        Errno::EBUSY => "in use",
        Errno::EACCES | Errno::EPERM => "not permitted on this mapping",
        Errno::EFAULT => "pages that cannot be brought in",
        Errno::EBADF => "not a mapping of a file",
        Errno::EIO => "it could not be read from storage",
        _ => "the kernel refused it",
    }
}

/// Whether an aligned huge page fits in.
fn holds_a_huge_page(skipped: &Skipped) -> bool {
    let end = skipped.start.saturating_add(skipped.len);
    skipped
        .start
        .checked_next_multiple_of(HUGE)
        .and_then(|start| start.checked_add(HUGE))
        .is_some_and(|first| first <= end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ones_are_told_apart() {
        let skipped = |start, len| Skipped {
            start,
            len,
            errno: Errno::EINVAL,
        };
        let small = "too small for a huge page";
        assert_eq!(why(Advice::COLLAPSE, &skipped(HUGE, HUGE - 4096)), small);
        assert_eq!(why(Advice::COLLAPSE, &skipped(4096, HUGE)), small);
        assert_ne!(why(Advice::COLLAPSE, &skipped(HUGE, HUGE)), small);
        assert_ne!(why(Advice::COLLAPSE, &skipped(u64::MAX - 4096, HUGE)), "");
        assert_ne!(why(Advice::COLD, &skipped(0, 4096)), small);
    }
}
