//! `mctl_coverage()`.

use std::ffi::{c_int, c_uint, c_void};

use ::mctl::why::Setting;
use ::mctl::{Coverage, Look, Target, ThpHost, read_policy};

use crate::calls::invalid;
use crate::constants::MCTL_WHY;
use crate::guard::{self, Uncancelled};
use crate::user::Room;

/// How much memory a process has, and how much of it is in huge pages. All sizes are bytes.
///
/// It may grow at its end. Set `size` to sizeof(struct mctl_coverage) before the call; afterwards
/// it says how many bytes this library filled in, and what is beyond is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawCoverage {
    /// In: the size of the structure. Out: how much of it was filled in.
    pub size: u32,
    /// 0.
    pub flags: u32,
    /// Mapped, populated or not.
    pub mapped: u64,
    /// Present in memory; hugetlb pages are not counted.
    pub rss: u64,
    /// The anonymous part of it.
    pub anonymous: u64,
    /// Of that, in huge pages.
    pub anon_huge: u64,
    /// Shared memory (tmpfs, memfd) that is present.
    pub shmem: u64,
    /// Of that, in huge pages.
    pub shmem_huge: u64,
    /// Pages of other files in huge pages.
    pub file_huge: u64,
    /// hugetlb pages.
    pub hugetlb: u64,
    /// On swap.
    pub swap: u64,
}

const SIZE: usize = size_of::<RawCoverage>();

fn bytes(coverage: &Coverage) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    for size in [
        coverage.size,
        coverage.rss,
        coverage.anonymous,
        coverage.anon_huge,
        coverage.shmem,
        coverage.shmem_huge,
        coverage.file_huge,
        coverage.hugetlb,
        coverage.swap,
    ] {
        bytes.extend(size.0.to_ne_bytes());
    }
    bytes
}

/// How much memory a process has, and how much of it is in huge pages. The process is left alone:
/// /proc is read.
///
/// `pidfd` is as for mctl_call(); `options` is 0 or MCTL_WHY. With the latter, which costs as much
/// as reading /proc/PID/smaps, mctl_last_detail() says after success what keeps most of the rest
/// in small pages, and what would change it; it is empty where there is no rest.
///
/// Returns 0; -1 with errno: EBADF, ESRCH, EACCES or EPERM a process of somebody else, EFAULT a
/// bad `out`, EINVAL its size or unknown options. `out` holds zeroes but for its size then.
///
/// # Safety
/// `out` is the caller's to be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mctl_coverage(
    pidfd: c_int,
    options: c_uint,
    out: *mut RawCoverage,
) -> c_int {
    guard::enter(-1, |detail| {
        if options & !MCTL_WHY != 0 {
            return Err(invalid(format!(
                "unknown options {:#x}",
                options & !MCTL_WHY
            )));
        }
        let _uncancelled = Uncancelled::new();
        // SAFETY: what the caller gave for us to use.
        let room = unsafe { Room::open(out.cast::<c_void>(), SIZE, "struct mctl_coverage") }?;
        let target = Target::from_raw(pidfd)?;
        let mut why = None;
        let coverage = if options & MCTL_WHY == 0 {
            Coverage::total(&target)?
        } else {
            let thp = read_policy(&target, Look::Proc)?.thp();
            let report = Setting::new(ThpHost::read()?.as_ref(), thp).report(&target)?;
            // As `mctl get` has it: nothing to say where it is covered.
            if report.summary() != "-" {
                why = report.why.dominant().map(|share| share.reason.sentence());
            }
            report.coverage
        };
        // SAFETY: as above.
        unsafe { room.fill(&bytes(&coverage)) }?;
        detail.keep(format_args!("{}", why.unwrap_or_default()));
        Ok(0)
    })
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn bytes_are_where_the_fields_are() {
        let coverage = Coverage {
            size: ::mctl::Bytes(1),
            shmem: ::mctl::Bytes(5),
            swap: ::mctl::Bytes(9),
            ..Coverage::default()
        };
        let bytes = bytes(&coverage);
        assert_eq!((bytes.len(), SIZE), (80, 80));
        for (at, value) in [
            (offset_of!(RawCoverage, mapped), 1),
            (offset_of!(RawCoverage, shmem), 5),
            (offset_of!(RawCoverage, swap), 9),
        ] {
            let field: [u8; 8] = bytes[at..at + 8].try_into().unwrap();
            assert_eq!(u64::from_ne_bytes(field), value);
        }
    }
}
