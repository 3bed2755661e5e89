//! Memory of a target that may still turn huge although the policy forbids it: the huge zero page
//! (docs/CONTRACT.md#stock-huge-zero).

use std::os::fd::AsFd;

use mctl_abi::Thp;
use mctl_abi::thp::Advice;
use mctl_sys::bounded;
use mctl_sys::huge_zero::{each, write_stays_huge};
use mctl_sys::remembered::Remembered;

use crate::error::Error;
use crate::see::coverage::{Bytes, each_vma, through_a_thread};
use crate::target::Target;

/// How much of it there is, under the policy that is to come. Nothing is touched: the page tables
/// are read, and the kernel is tried out in memory of our own.
///
/// What cannot be read counts as none: kernels before Linux 6.7 cannot tell, and give small pages
/// anyhow.
pub(crate) fn bytes(target: &Target, policy: Thp) -> Bytes {
    if !matches!(policy, Thp::Never | Thp::Advised) || !any_on_this_host() {
        return Bytes::ZERO;
    }
    // Two files are opened and asked many times: in one task.
    let mut found = match bounded::run(|| stretches(target)) {
        Ok(found) => found.unwrap_or_default(),
        Err(_) => return Bytes::ZERO,
    };
    if !found.is_empty() && policy == Thp::Advised {
        // Where the program asked, a huge page is what it should get.
        found = unasked(target, &found).unwrap_or(found);
    }
    if found.is_empty() || write_stays_huge() == Some(false) {
        return Bytes::ZERO;
    }
    Bytes(found.iter().map(|(start, end)| end - start).sum())
}

/// That the host has made a huge zero page: it has then for ever.
static MADE: Remembered<()> = Remembered::new();

/// Whether the host ever made a huge zero page. Most never do, and then nobody is looked at.
fn any_on_this_host() -> bool {
    if MADE.get().is_some() {
        return true;
    }
    let Ok(text) = std::fs::read_to_string("/proc/vmstat") else {
        return true;
    };
    let counted = text
        .lines()
        .find_map(|line| line.strip_prefix("thp_zero_page_alloc "));
    if counted == Some("0") {
        return false;
    }
    MADE.set(());
    true
}

fn stretches(target: &Target) -> Result<Vec<(u64, u64)>, Error> {
    through_a_thread(target, |prefix| {
        let pagemap = target.open_proc(&format!("{prefix}pagemap"))?;
        let maps = target.open_proc(&format!("{prefix}maps"))?;
        let mut found: Vec<(u64, u64)> = Vec::new();
        let walked = each(
            pagemap.as_fd(),
            Some(maps.as_fd()),
            |start, end| match found.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => found.push((start, end)),
            },
        );
        Ok(walked.is_ok().then_some(found))
    })
}

/// Those outside of what the program advised HUGEPAGE for.
fn unasked(target: &Target, found: &[(u64, u64)]) -> Result<Vec<(u64, u64)>, Error> {
    let mut left = Vec::new();
    let mut rest = found.iter().copied().peekable();
    each_vma(target, |_, vma| {
        while let Some((start, end)) = rest.peek().copied() {
            if start >= vma.end {
                break;
            }
            let (from, to) = (start.max(vma.start), end.min(vma.end));
            if from < to && vma.advice != Advice::Hugepage {
                left.push((from, to));
            }
            if end > vma.end {
                break;
            }
            rest.next();
        }
        Ok::<(), Error>(())
    })?;
    Ok(left)
}
