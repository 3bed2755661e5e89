//! What the tests of advice share.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "not every test file uses all of it; a test helper may panic"
)]

use mctl::advise::{Advice, P_PID, Range, process_madvise};
use mctl::{Errno, Target};
use mctl_sys::raw::madvise::process_madvise as kernel;
use mctl_testkit::Fixture;

pub(crate) const PAGE: u64 = 4096;
pub(crate) const NONE: u32 = 0;
pub(crate) const SKIP: u32 = 1;
pub(crate) const GAPS: u32 = 2;
pub(crate) const DEFAULT: u32 = 4;
pub(crate) const ENTIRE: u32 = 8;

pub(crate) fn target(f: &Fixture) -> Target {
    Target::open(f.pid().to_string().parse().unwrap()).unwrap()
}

pub(crate) fn ok(f: &mut Fixture, command: &str) {
    assert_eq!(f.ask(command).unwrap(), "ok", "{command}");
}

pub(crate) fn map(f: &mut Fixture, len: u64) -> u64 {
    let answer = f.ask(&format!("map {len}")).unwrap();
    let mut words = answer.split(' ');
    assert_eq!(words.next(), Some("map"), "{answer}");
    u64::from_str_radix(words.next().unwrap().trim_start_matches("0x"), 16).unwrap()
}

pub(crate) fn flags_at(f: &mut Fixture, address: u64) -> String {
    f.ask(&format!("smaps {address:#x} VmFlags")).unwrap()
}

pub(crate) fn range(start: u64, pages: u64) -> Range {
    Range {
        start,
        len: pages * PAGE,
    }
}

/// Ours, by process number, as the C ABI gives it.
pub(crate) fn ours(
    f: &Fixture,
    ranges: &[Range],
    advice: Advice,
    flags: u32,
) -> Result<u64, Errno> {
    process_madvise(P_PID, f.pid(), Some(ranges), advice, flags).map_err(|error| error.errno())
}

pub(crate) fn theirs(f: &Fixture, ranges: &[Range], advice: Advice) -> Result<u64, Errno> {
    kernel(f.pidfd(), ranges, advice.number())
}

/// A stretch of 64 touched pages: pages 16 to 23 unmapped, 40 to 47 locked.
///
/// ```text
/// 0        16     24        40       48        64
/// | mapped | gap  | mapped  | locked | mapped  | gap …
/// ```
pub(crate) fn stretch(f: &mut Fixture) -> u64 {
    let base = map(f, 512 * PAGE);
    ok(f, &format!("unmap {:#x} {}", base + 64 * PAGE, 448 * PAGE));
    ok(f, &format!("touch {base:#x} {}", 64 * PAGE));
    ok(f, &format!("unmap {:#x} {}", base + 16 * PAGE, 8 * PAGE));
    ok(f, &format!("lock {:#x} {}", base + 40 * PAGE, 8 * PAGE));
    base
}
