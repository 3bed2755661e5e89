//! `PAGEMAP_SCAN` on the running kernel, against memory of known state.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::os::fd::AsFd;

use mctl_abi::Errno;
use mctl_sys::raw::pagemap::{Categories, PageRegion, Scan, scan};
use mctl_testkit::{Fixture, start};

const PAGE: u64 = 4096;
const HUGE: u64 = 2 << 20;
const POPULATED: Categories = Categories::PRESENT.and(Categories::SWAPPED);
const TOLD: Categories = POPULATED
    .and(Categories::HUGE)
    .and(Categories::FILE)
    .and(Categories::PFNZERO);

/// Asks a fixture for memory, and returns its address.
fn map(fixture: &mut Fixture, command: &str) -> u64 {
    let answer = fixture.ask(command).unwrap();
    let address = answer.split(' ').nth(1).expect("map ADDR LEN");
    u64::from_str_radix(address.trim_start_matches("0x"), 16).unwrap()
}

fn ok(fixture: &mut Fixture, command: &str) {
    assert_eq!(fixture.ask(command).unwrap(), "ok", "{command}");
}

fn pagemap(fixture: &Fixture) -> File {
    File::open(format!("/proc/{}/pagemap", fixture.pid())).unwrap()
}

fn regions(pagemap: &File, start: u64, len: u64) -> Result<Vec<PageRegion>, Errno> {
    let mut room = [PageRegion::default(); 64];
    let asked = Scan {
        start,
        end: start + len,
        any_of: POPULATED,
        told: TOLD,
    };
    let found = scan(pagemap.as_fd(), asked, &mut room)?;
    Ok(room[..found.regions].to_vec())
}

/// Skips where the kernel has no such call, and only there.
macro_rules! scanned {
    ($result:expr) => {
        match $result {
            Ok(found) => found,
            Err(Errno::ENOTTY) => mctl_testkit::skip!("no PAGEMAP_SCAN (Linux 6.7)"),
            Err(errno) => panic!("{errno}"),
        }
    };
}

#[test]
fn small_pages_are_found_where_they_were_written() {
    let mut fixture = start!("touch");
    let base = map(&mut fixture, "map 4194304");
    ok(&mut fixture, &format!("advise {base:#x} 4194304 15"));
    let file = pagemap(&fixture);
    assert_eq!(scanned!(regions(&file, base, 4 << 20)), []);
    ok(&mut fixture, &format!("touch {:#x} 12288", base + 5 * PAGE));
    ok(
        &mut fixture,
        &format!("touch {:#x} 4096", base + 100 * PAGE),
    );
    let found = scanned!(regions(&file, base, 4 << 20));
    let expected = [(5, 8), (100, 101)].map(|(from, to)| PageRegion {
        start: base + from * PAGE,
        end: base + to * PAGE,
        categories: Categories::PRESENT,
    });
    assert_eq!(found, expected);
}

#[test]
fn huge_pages_are_told_from_small_ones() {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if !enabled.is_ok_and(|knob| !knob.contains("[never]")) {
        mctl_testkit::skip!("transparent huge pages are off");
    }
    let mut fixture = start!("touch");
    let base = map(&mut fixture, "map 8388608");
    ok(&mut fixture, &format!("advise {base:#x} 4194304 14"));
    ok(
        &mut fixture,
        &format!("advise {:#x} 4194304 15", base + 2 * HUGE),
    );
    ok(&mut fixture, &format!("touch {base:#x} 2097152"));
    ok(&mut fixture, &format!("touch {:#x} 4096", base + 2 * HUGE));
    let found = scanned!(regions(&pagemap(&fixture), base, 4 * HUGE));
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].start, found[0].end), (base, base + HUGE));
    assert!(
        found[0]
            .categories
            .has(Categories::HUGE.and(Categories::PRESENT))
    );
    assert_eq!(found[1].categories, Categories::PRESENT);
}

#[test]
fn shared_memory_is_a_file() {
    let mut fixture = start!("touch");
    let base = map(&mut fixture, "memfd 2097152");
    ok(&mut fixture, &format!("touch {base:#x} 4096"));
    let found = scanned!(regions(&pagemap(&fixture), base, HUGE));
    assert!(
        found[0]
            .categories
            .has(Categories::FILE.and(Categories::PRESENT))
    );
}

#[test]
fn a_full_vector_ends_the_walk_and_it_can_go_on() {
    let mut fixture = start!("touch");
    let base = map(&mut fixture, "map 2097152");
    ok(&mut fixture, &format!("advise {base:#x} 2097152 15"));
    for page in [1, 3, 5, 7, 9] {
        ok(
            &mut fixture,
            &format!("touch {:#x} 4096", base + page * PAGE),
        );
    }
    let file = pagemap(&fixture);
    let (mut room, mut from, mut seen) = ([PageRegion::default(); 2], base, Vec::new());
    while from < base + HUGE {
        let asked = Scan {
            start: from,
            end: base + HUGE,
            any_of: POPULATED,
            told: TOLD,
        };
        let found = scanned!(scan(file.as_fd(), asked, &mut room));
        seen.extend(
            room[..found.regions]
                .iter()
                .map(|r| (r.start - base) / PAGE),
        );
        assert!(found.walk_end > from, "it goes on");
        from = found.walk_end;
    }
    assert_eq!(seen, [1, 3, 5, 7, 9]);
}

#[test]
fn what_cannot_be_asked() {
    let own = File::open("/proc/self/pagemap").unwrap();
    let ask = |start, end, room: &mut [PageRegion]| {
        let asked = Scan {
            start,
            end,
            any_of: POPULATED,
            told: TOLD,
        };
        scan(own.as_fd(), asked, room)
    };
    let mut room = [PageRegion::default(); 4];
    assert_eq!(ask(0, 4096, &mut []), Err(Errno::EINVAL));
    assert_eq!(ask(4096, 4096, &mut room), Err(Errno::EINVAL));
    scanned!(ask(0, 4096, &mut room));
    assert_eq!(ask(1, 4096, &mut room), Err(Errno::EINVAL));
    assert_eq!(ask(1 << 63, u64::MAX, &mut room), Err(Errno::EFAULT));
    let other = File::open("/dev/null").unwrap();
    let asked = Scan {
        start: 0,
        end: 4096,
        any_of: POPULATED,
        told: TOLD,
    };
    assert_eq!(scan(other.as_fd(), asked, &mut room), Err(Errno::ENOTTY));
}

#[test]
fn the_zero_page_is_told() {
    let len = 6 << 20;
    // SAFETY: a new private mapping at an address of the kernel's choice.
    let map = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            len,
            rustix::mm::ProtFlags::READ,
            rustix::mm::MapFlags::PRIVATE,
        )
    };
    let first = map.unwrap().expose_provenance().next_multiple_of(2 << 20);
    for (advice, at) in [(15, first), (14, first + (2 << 20))] {
        let (start, len) = (at as u64, HUGE);
        let range = mctl_sys::raw::madvise::Range { start, len };
        mctl_sys::raw::madvise::madvise_self(range, advice).unwrap();
        let byte = std::ptr::with_exposed_provenance::<u8>(at);
        // SAFETY: inside the mapping made above, which stays; anonymous memory reads as zero.
        assert_eq!(unsafe { byte.read_volatile() }, 0);
        let own = File::open("/proc/self/pagemap").unwrap();
        let found = scanned!(regions(&own, start, len));
        assert_eq!((found.len(), found[0].start), (1, start));
        let zero = Categories::PRESENT.and(Categories::PFNZERO);
        // Of a huge zero page the first kernels that have the call say nothing.
        assert!(found[0].categories.has(zero) || advice == 14);
    }
}
