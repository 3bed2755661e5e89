//! The picture of an address space, against memory of known state.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use mctl::coverage::{Bytes, Coverage};
use mctl::pages::{Cell, Resolution, Run, Source, State, by_vma, proportions_by_vma};
use mctl::{Target, ThpHost};
use mctl_abi::thp::{Advice, Host};
use mctl_testkit::{Fixture, slower, start};

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
const HUGEPAGE: i32 = 14;
const NOHUGEPAGE: i32 = 15;

fn target(fixture: &Fixture) -> Target {
    Target::open(fixture.target().to_string().parse().unwrap()).unwrap()
}

fn hex(text: Option<&str>) -> u64 {
    let text = text.and_then(|text| text.split(' ').next()).unwrap();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

fn map(fixture: &mut Fixture, command: &str) -> u64 {
    let answer = fixture.ask(command).unwrap();
    hex(answer.strip_prefix("map "))
}

fn ok(fixture: &mut Fixture, command: &str) {
    assert_eq!(fixture.ask(command).unwrap(), "ok", "{command}");
}

/// What is said of the mapping at an address.
#[derive(Debug, PartialEq)]
struct Seen {
    cells: Vec<Cell>,
    cell_bytes: u64,
    runs: Vec<Run>,
    source: Source,
    never: bool,
    start: u64,
}

fn at(target: &Target, address: u64, resolution: Resolution, source: Source) -> Seen {
    let mut seen = None;
    let see = |pages: &mctl::pages::VmaPages<'_>| {
        // Whatever the mapping, the cells cover it exactly.
        let sum = pages.sum();
        let bytes: Bytes = State::ALL.map(|state| sum.of(state)).into_iter().sum();
        assert_eq!(bytes, Bytes(pages.vma.len()));
        assert_eq!(
            pages.cells.len() as u64,
            pages.vma.len().div_ceil(pages.cell_bytes)
        );
        let mut end = pages.vma.start;
        for run in pages.runs() {
            assert!(run.start == end && run.end > end);
            end = run.end;
        }
        assert_eq!(end, pages.vma.end);
        if (pages.vma.start..pages.vma.end).contains(&address) {
            seen = Some(Seen {
                cells: pages.cells.to_vec(),
                cell_bytes: pages.cell_bytes,
                runs: pages.runs().collect(),
                source: pages.source,
                never: pages.is_advised_never(),
                start: pages.vma.start,
            });
        }
        Ok::<(), mctl::Error>(())
    };
    match source {
        Source::Pages => by_vma(target, resolution, see),
        Source::Proportions => proportions_by_vma(target, resolution, see),
    }
    .unwrap();
    seen.expect("the mapping is listed")
}

/// Skips on kernels without `PAGEMAP_SCAN`.
macro_rules! exact {
    ($seen:expr) => {{
        let seen = $seen;
        if seen.source != Source::Pages {
            mctl_testkit::skip!("no PAGEMAP_SCAN (Linux 6.7)");
        }
        seen
    }};
}

#[test]
fn runs_of_single_pages_are_exact() {
    let mut fixture = start!("touch");
    let base = map(&mut fixture, "map 4194304");
    ok(
        &mut fixture,
        &format!("advise {base:#x} 4194304 {NOHUGEPAGE}"),
    );
    for page in [0, 7, 8, 1023] {
        ok(
            &mut fixture,
            &format!("touch {:#x} 4096", base + page * PAGE),
        );
    }
    let fine = Resolution::CellBytes(1);
    let seen = exact!(at(&target(&fixture), base, fine, Source::Pages));
    assert!(seen.never && seen.start == base && seen.cell_bytes == PAGE);
    let run = |from: u64, to: u64, state| Run {
        start: base + from * PAGE,
        end: base + to * PAGE,
        state,
    };
    assert_eq!(
        seen.runs,
        [
            run(0, 1, State::Small),
            run(1, 7, State::NotPresent),
            run(7, 9, State::Small),
            run(9, 1023, State::NotPresent),
            run(1023, 1024, State::Small),
        ]
    );
}

#[test]
fn huge_and_small_side_by_side() {
    if !ThpHost::read()
        .unwrap()
        .is_some_and(|host| host.pmd() != Host::Never && host.pmd_kb == 2048)
    {
        mctl_testkit::skip!("transparent huge pages are off");
    }
    let mut fixture = start!("touch");
    let base = map(&mut fixture, "map 16777216");
    ok(
        &mut fixture,
        &format!("advise {base:#x} 16777216 {HUGEPAGE}"),
    );
    ok(&mut fixture, &format!("touch {base:#x} 4194304"));
    // What is huge stays so; what will be small is not khugepaged's, which comes by every ten seconds.
    ok(
        &mut fixture,
        &format!("advise {base:#x} 16777216 {NOHUGEPAGE}"),
    );
    // The rest stays one mapping, so its small pages must be made by hand: half of a huge page is
    // given back.
    ok(
        &mut fixture,
        &format!("advise {:#x} 1048576 4", base + 3 * MIB),
    );
    let target = target(&fixture);
    let seen = exact!(at(&target, base, Resolution::CellBytes(MIB), Source::Pages));
    let states: Vec<State> = seen.cells.iter().map(Cell::dominant).collect();
    assert_eq!(
        states[..4],
        [State::Huge, State::Huge, State::Small, State::NotPresent]
    );
    assert!(states[4..].iter().all(|state| *state == State::NotPresent));
    assert!(seen.never);
    // In one cell the parts are the same, and those of the counters too.
    for source in [Source::Pages, Source::Proportions] {
        let one = at(&target, base, Resolution::Cells(1), source);
        let whole = Cell {
            huge: Bytes(2 * MIB),
            small: Bytes(MIB),
            swapped: Bytes::ZERO,
            not_present: Bytes(13 * MIB),
        };
        assert_eq!((one.cells, one.source), (vec![whole], source));
        assert_eq!(whole.dominant(), State::NotPresent);
        assert_eq!(whole.populated(), Some(State::Huge));
    }
    ok(
        &mut fixture,
        &format!("advise {base:#x} 16777216 {HUGEPAGE}"),
    );
    assert!(!at(&target, base, Resolution::Cells(1), Source::Pages).never);
}

#[test]
fn without_page_tables_the_counters_are_spread() {
    let mut fixture = start!("touch");
    let base = map(&mut fixture, "map 8388608");
    ok(
        &mut fixture,
        &format!("advise {base:#x} 8388608 {NOHUGEPAGE}"),
    );
    ok(&mut fixture, &format!("touch {base:#x} 4194304"));
    let seen = at(
        &target(&fixture),
        base,
        Resolution::Cells(8),
        Source::Proportions,
    );
    assert_eq!(seen.source, Source::Proportions);
    let half = Bytes(MIB / 2);
    assert!(
        seen.cells
            .iter()
            .all(|cell| (cell.small, cell.not_present) == (half, half))
    );
}

#[test]
fn a_terabyte_takes_no_more_than_its_cells() {
    let fixture = start!("vmas", "n=1", "size=1099511627776", "touch=1");
    let base = hex(fixture.info("base"));
    for resolution in [
        Resolution::Cells(100),
        Resolution::Cells(u32::MAX),
        Resolution::Cells(0),
        Resolution::CellBytes(0),
        Resolution::CellBytes(u64::MAX),
    ] {
        let seen = exact!(at(&target(&fixture), base, resolution, Source::Pages));
        assert!((1..=65_536).contains(&seen.cells.len()), "{resolution:?}");
        let there = seen.cells.iter().filter(|cell| cell.populated().is_some());
        assert_eq!(there.count(), 1);
    }
}

#[test]
fn shared_memory_is_shown_too() {
    let mut fixture = start!("touch");
    let base = map(&mut fixture, "memfd 4194304");
    ok(&mut fixture, &format!("touch {base:#x} 2097152"));
    let seen = exact!(at(
        &target(&fixture),
        base,
        Resolution::Cells(2),
        Source::Pages
    ));
    assert_ne!(seen.cells[0].dominant(), State::NotPresent);
    assert_eq!(seen.cells[1].dominant(), State::NotPresent);
}

#[test]
fn many_small_mappings() {
    let fixture = start!("vmas", "n=20000", "touch=1");
    let base = hex(fixture.info("base"));
    let (mut small, mut empty) = (0, 0);
    by_vma(&target(&fixture), Resolution::Cells(4), |pages| {
        if pages.vma.start >= base && pages.vma.end <= base + 20_000 * PAGE {
            match pages.sum().dominant() {
                State::Small => small += 1,
                State::NotPresent => empty += 1,
                state => panic!("{state}"),
            }
        }
        Ok::<(), mctl::Error>(())
    })
    .unwrap();
    assert_eq!((small, empty), (10_000, 10_000));
}

#[test]
fn our_own_picture_in_json() {
    let mut lines = Vec::new();
    by_vma(&Target::own().unwrap(), Resolution::Cells(2), |pages| {
        lines.push(serde_json::to_value(pages).unwrap());
        Ok::<(), mctl::Error>(())
    })
    .unwrap();
    let line = &lines[0];
    assert!(line["vma"]["start"].as_str().unwrap().starts_with("0x"));
    assert_eq!(line["cells"][0].as_array().unwrap().len(), 4);
    assert!(line["cell_bytes"].as_u64().unwrap() >= PAGE);
}

#[test]
fn a_process_whose_first_thread_has_exited() {
    let fixture = start!("leader_exit");
    let mut mappings = 0;
    by_vma(&target(&fixture), Resolution::Cells(1), |_| {
        mappings += 1;
        Ok::<(), mctl::Error>(())
    })
    .unwrap();
    assert!(mappings > 5);
}

#[test]
fn sixty_thousand_mappings_in_bounded_memory() {
    let count = 60_000 / slower();
    let fixture = start!(
        "vmas",
        format!("n={count}"),
        "touch=1",
        "huge=3",
        "nohuge=5"
    );
    let target = target(&fixture);
    let before = peak_kb();
    let (mut hugepage, mut nohugepage, mut bytes) = (0, 0, 0);
    let sum = Coverage::by_vma(&target, |vma| {
        hugepage += u64::from(vma.advice == Advice::Hugepage);
        nohugepage += u64::from(vma.advice == Advice::Nohugepage);
        bytes += serde_json::to_string(vma).map_or(0, |json| json.len());
        Ok::<(), mctl::Error>(())
    })
    .unwrap();
    assert!(hugepage >= count / 15 * 4 && nohugepage >= count / 5);
    assert!(bytes as u64 > count * 100 && sum.size >= Bytes(count * PAGE));
    by_vma(
        &target,
        Resolution::Cells(64),
        |_| Ok::<(), mctl::Error>(()),
    )
    .unwrap();
    // The listing is 40 MB. Tests run side by side, so there is room for the others.
    // The kernel's counter may fall by some pages.
    let grown = peak_kb().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} kB");
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.unwrap().trim().trim_end_matches(" kB");
    kb.parse().unwrap()
}
