//! Saying what a split did.

use std::io::{self, Write};

use mctl::coverage::Bytes;
use mctl::split::{Done, HugePages};

use crate::operate::time;

fn huge_pages(count: u64) -> String {
    match count {
        1 => "1 huge page".to_owned(),
        count => format!("{count} huge pages"),
    }
}

/// What a dry run says.
pub(crate) fn plan_line(out: &mut impl Write, who: &str, huge: &HugePages) -> io::Result<()> {
    writeln!(
        out,
        "{who}: would split {}, {}; how much of it is all zero is known only then",
        huge_pages(huge.eligible.0 >> 21),
        huge.eligible
    )?;
    passed_over(out, huge)
}

/// What was done, before and after.
pub(crate) fn lines(out: &mut impl Write, who: &str, done: &Done) -> io::Result<()> {
    writeln!(
        out,
        "{who}: split: {} given back of {}, in {}",
        done.given_back,
        huge_pages(done.split),
        time(done.took)
    )?;
    match &done.after {
        Some(after) => {
            let before = &done.before;
            writeln!(out, "  resident     {} → {}", before.rss, after.rss)?;
            writeln!(
                out,
                "  huge pages   {} → {}",
                before.anon_huge, after.anon_huge
            )?;
        }
        None => writeln!(out, "  it has ended")?,
    }
    if done.stayed_huge > 0 {
        writeln!(
            out,
            "  stayed huge  {}: in use by the kernel or a device just now",
            huge_pages(done.stayed_huge)
        )?;
    }
    passed_over(out, &done.huge)
}

fn passed_over(out: &mut impl Write, huge: &HugePages) -> io::Result<()> {
    let parts = [
        (huge.shared, "shared with another process since a fork"),
        (huge.locked, "locked"),
        (huge.userfaultfd, "watched by userfaultfd"),
        (huge.other, "of files, shared memory or hugetlb"),
    ];
    for (bytes, why) in parts {
        if bytes > Bytes::ZERO {
            writeln!(out, "  passed over  {bytes} {why}")?;
        }
    }
    Ok(())
}

/// What is to be known about it.
pub(super) fn note(pid: i32, done: &Done) -> Option<String> {
    (done.may_become_huge_again && done.split > 0).then(|| {
        format!(
            "process {pid}: khugepaged may make huge pages of it again; \
             'mctl set nohugepage --split {pid}' keeps it small"
        )
    })
}
