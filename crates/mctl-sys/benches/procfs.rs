//! The parsers against the `procfs` crate, on the same bytes, in one run.
//!
//! The bytes are a synthetic process of 20,000 mappings in the shape that Linux 6.18 writes. The
//! peer builds a list of owned values, which is what its callers get; ours are walked and summed, so
//! that nothing can be left out. Promise (SPECIFICATION.md): at least three times as fast.
//!
//! `cargo bench -p mctl-sys --bench procfs`

#![allow(clippy::unwrap_used, reason = "a bench that cannot run should stop")]
#![allow(clippy::cast_possible_truncation, reason = "indices below 100")]
#![allow(missing_docs, reason = "criterion's macros write public functions")]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mctl_sys::procfs::counters::{Counter, Want};
use mctl_sys::procfs::maps::{MapLines, MapsReader};
use mctl_sys::procfs::smaps::SmapsEntries;
use mctl_sys::procfs::smaps_reader::SmapsReader;
use mctl_sys::procfs::status::Status;
use procfs::FromBufRead;
use procfs::process::MemoryMaps;

const VMAS: u64 = 20_000;

/// How many times faster than the peer we promise to be.
const PROMISE: f64 = 3.0;

/// The first line of mapping `n`: one in three has a file, one in fifty a name of its own.
fn header(out: &mut String, n: u64) {
    let start = 0x7f00_0000_0000 + n * 0x30_0000;
    let end = start + 0x1000 * (1 + n % 700);
    let perms = ["rw-p", "r--p", "r-xp", "rw-s"][n as usize % 4];
    let (offset, dev, inode, name) = match n % 50 {
        0 => (0, "00:00", 0, "[anon:a named arena]".to_owned()),
        k if k % 3 == 0 => (
            n % 90 * 4096,
            "fe:00",
            240_000 + n,
            format!("/usr/lib/x86_64-linux-gnu/libexample-{}.so.6", n % 300),
        ),
        _ => (0, "00:00", 0, String::new()),
    };
    let head = format!("{start:08x}-{end:08x} {perms} {offset:08x} {dev} {inode} ");
    let gap = if name.is_empty() {
        0
    } else {
        73_usize.saturating_sub(head.len()).max(1)
    };
    writeln!(out, "{head}{:gap$}{name}", "").unwrap();
}

fn maps_text() -> String {
    let mut out = String::new();
    (0..VMAS).for_each(|n| header(&mut out, n));
    out
}

fn smaps_text() -> String {
    let mut out = String::new();
    for n in 0..VMAS {
        header(&mut out, n);
        let size = 4 * (1 + n % 700);
        let rss = size * (n % 5) / 4;
        let anon = if n % 3 == 0 { 0 } else { rss };
        let huge = if n % 7 == 0 { anon } else { 0 };
        for (key, kb) in [
            ("Size", size),
            ("KernelPageSize", 4),
            ("MMUPageSize", 4),
            ("Rss", rss),
            ("Pss", rss),
            ("Pss_Dirty", anon),
            ("Shared_Clean", 0),
            ("Shared_Dirty", 0),
            ("Private_Clean", rss - anon),
            ("Private_Dirty", anon),
            ("Referenced", rss),
            ("Anonymous", anon),
            ("KSM", 0),
            ("LazyFree", 0),
            ("AnonHugePages", huge),
            ("ShmemPmdMapped", 0),
            ("FilePmdMapped", 0),
            ("Shared_Hugetlb", 0),
            ("Private_Hugetlb", 0),
            ("Swap", n % 11),
            ("SwapPss", n % 11),
            ("Locked", 0),
        ] {
            writeln!(out, "{:16}{kb:8} kB", format!("{key}:")).unwrap();
        }
        writeln!(out, "THPeligible:    {:8}", n % 2).unwrap();
        let advice = ["", "hg ", "nh "][n as usize % 3];
        writeln!(out, "VmFlags: rd wr mr mw me ac sd {advice}").unwrap();
    }
    out
}

fn ours_maps(text: &[u8]) -> u64 {
    MapLines::new(text)
        .map(Result::unwrap)
        .map(|vma| vma.len() ^ vma.inode ^ vma.name.len() as u64)
        .sum()
}

fn ours_maps_stream(text: &[u8]) -> u64 {
    let mut reader = MapsReader::new(text);
    let mut sum = 0;
    while let Some(vma) = reader.next_line().unwrap() {
        sum += vma.len() ^ vma.inode ^ vma.name.len() as u64;
    }
    sum
}

fn ours_smaps(text: &[u8], want: Want) -> u64 {
    SmapsEntries::with(text, want)
        .map(Result::unwrap)
        .map(|entry| entry.counters.rss() ^ entry.counters.anon_huge_pages() ^ entry.vma.inode)
        .sum()
}

fn ours_smaps_stream(text: &[u8], want: Want) -> u64 {
    let mut sum = 0;
    let see = |entry: &mctl_sys::procfs::smaps::SmapsEntry<'_>| {
        sum += entry.counters.rss() ^ entry.counters.anon_huge_pages() ^ entry.vma.inode;
    };
    SmapsReader::with(text, want).for_each(see).unwrap();
    sum
}

fn peer(text: &[u8]) -> usize {
    MemoryMaps::from_buf_read(text).unwrap().into_iter().count()
}

fn some() -> Want {
    Want::NONE.and(Counter::Rss).and(Counter::AnonHugePages)
}

/// The median of 15 runs that alternate, so that a slow moment hits both.
fn compare(name: &str, ours: impl Fn() -> u64, peer: impl Fn() -> u64) {
    let clock = |run: &dyn Fn() -> u64| {
        let start = Instant::now();
        black_box(run());
        start.elapsed()
    };
    let (mut mine, mut theirs): (Vec<Duration>, Vec<Duration>) =
        (0..15).map(|_| (clock(&ours), clock(&peer))).unzip();
    mine.sort();
    theirs.sort();
    let (mine, theirs) = (mine[7], theirs[7]);
    let ratio = theirs.as_secs_f64() / mine.as_secs_f64();
    let verdict = if ratio >= PROMISE { "kept" } else { "BROKEN" };
    println!(
        "{name}: ours {mine:?}, procfs {theirs:?}, {ratio:.1} times as fast; promise {PROMISE}: {verdict}"
    );
}

fn parsers(criterion: &mut Criterion) {
    let (maps, smaps) = (maps_text(), smaps_text());
    let (maps, smaps) = (maps.as_bytes(), smaps.as_bytes());
    assert_eq!(MapLines::new(maps).count(), peer(maps));
    assert_eq!(SmapsEntries::new(smaps).count(), peer(smaps));
    assert_eq!(
        ours_smaps(smaps, Want::ALL),
        ours_smaps_stream(smaps, some())
    );

    println!(
        "{VMAS} mappings: maps {} bytes, smaps {} bytes",
        maps.len(),
        smaps.len()
    );
    compare("maps", || ours_maps(maps), || peer(maps) as u64);
    compare(
        "smaps",
        || ours_smaps(smaps, Want::ALL),
        || peer(smaps) as u64,
    );

    let mut group = criterion.benchmark_group("maps");
    group
        .throughput(Throughput::Bytes(maps.len() as u64))
        .sample_size(20);
    group.bench_function("slice", |b| b.iter(|| ours_maps(black_box(maps))));
    group.bench_function("stream", |b| b.iter(|| ours_maps_stream(black_box(maps))));
    group.bench_function("procfs crate", |b| b.iter(|| peer(black_box(maps))));
    group.finish();

    let mut group = criterion.benchmark_group("smaps");
    group
        .throughput(Throughput::Bytes(smaps.len() as u64))
        .sample_size(20);
    group.bench_function("slice, all counters", |b| {
        b.iter(|| ours_smaps(black_box(smaps), Want::ALL))
    });
    group.bench_function("slice, two counters", |b| {
        b.iter(|| ours_smaps(black_box(smaps), some()))
    });
    group.bench_function("stream, all counters", |b| {
        b.iter(|| ours_smaps_stream(black_box(smaps), Want::ALL))
    });
    group.bench_function("procfs crate", |b| b.iter(|| peer(black_box(smaps))));
    group.finish();

    let status = fs::read("/proc/self/status").unwrap();
    let mut group = criterion.benchmark_group("status");
    group.throughput(Throughput::Bytes(status.len() as u64));
    group.bench_function("ours", |b| {
        b.iter(|| Status::parse(black_box(&status)).unwrap())
    });
    group.bench_function("procfs crate", |b| {
        b.iter_batched(
            || &status[..],
            |text| procfs::process::Status::from_buf_read(text).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, parsers);
criterion_main!(benches);
