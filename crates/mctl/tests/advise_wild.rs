//! A process that maps and unmaps wildly while it is advised: no wrong byte, no crash, no stop that
//! is left behind. `MCTL_LONG_TESTS=60` makes it a minute.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mctl::advise::{Advice, Advise, Selection};
use mctl::{Errno, Target};
use mctl_testkit::{Fixture, require_root, start};

fn seconds() -> u64 {
    std::env::var("MCTL_LONG_TESTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4)
}

fn advise_wildly(f: &Fixture) {
    let target = Target::open(f.pid().to_string().parse().unwrap()).unwrap();
    let end = Instant::now() + Duration::from_secs(seconds());
    let advices = [
        Advice::COLD,
        Advice::PAGEOUT,
        Advice::COLLAPSE,
        Advice::HUGEPAGE,
        Advice::POPULATE_WRITE,
        Advice::POPULATE_READ,
        Advice::NOHUGEPAGE,
        Advice::DODUMP,
        Advice::MERGEABLE,
        Advice::UNMERGEABLE,
    ];
    let mut rounds = 0u64;
    let mut skipped: BTreeMap<(String, Errno), u64> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    while Instant::now() < end {
        for advice in advices {
            if !mctl_sys::raw::madvise::knows_advice(advice.number()) {
                continue;
            }
            let advise = match rounds % 3 {
                0 => Advise::new(advice).entire_address_space().skip_errors(),
                1 => Advise::new(advice)
                    .selected(Selection::all().anonymous())
                    .skip_errors(),
                // Gaps are tolerated, failures are not: it may stop early.
                _ => Advise::new(advice).selected(Selection::all().shmem().anonymous()),
            };
            let advised = match advise.give(&target) {
                Ok(advised) => advised,
                // Anonymous memory alone, on a host without swap: it has nowhere to go.
                Err(error)
                    if advice == Advice::PAGEOUT
                        && !rounds.is_multiple_of(3)
                        && error.errno() == Errno::EOPNOTSUPP =>
                {
                    continue;
                }
                Err(error) => panic!("{advice}: {error}"),
            };
            if std::env::var_os("MCTL_TEST_VERBOSE").is_some() {
                eprintln!(
                    "{advice}: {:?}, {} batches, stopped {:?}, longest {:?}",
                    advised.took, advised.batches, advised.stopped, advised.longest_stop
                );
            }
            assert!(advised.ended.is_none(), "{advice}: {advised:?}");
            let strict = rounds % 3 == 2;
            let failed = advised.entries.iter().find_map(|entry| entry.error);
            // Unmapped memory is no error in any of the three.
            assert!(strict || failed.is_none(), "{advice}: {failed:?}");
            let flag_only = matches!(
                advice,
                Advice::HUGEPAGE | Advice::NOHUGEPAGE | Advice::DODUMP
            );
            assert!(!flag_only || failed.is_none(), "{advice}: {failed:?}");
            for skip in &advised.skipped {
                *skipped.entry((advice.to_string(), skip.errno)).or_default() += 1;
            }
            longest = longest.max(advised.longest_stop);
        }
        rounds += 1;
    }
    eprintln!("{rounds} rounds, the longest stop {longest:?}; passed over: {skipped:?}");
    // Nobody is left stopped or traced.
    for task in f.tasks() {
        assert!(!matches!(task.state, 't' | 'T'), "{task:?}");
        let status = std::fs::read_to_string(format!("/proc/{}/task/{}/status", f.pid(), task.tid));
        assert!(status.unwrap().contains("TracerPid:\t0"), "{task:?}");
    }
}

/// One at a time: together they fight for the processors.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn wild_mapping_while_advised() {
    require_root!();
    let _one = ONE.lock();
    let mut f = start!("map_wild", "threads=2");
    advise_wildly(&f);
    let gap = f.ask("gap").unwrap();
    eprintln!("the watching thread's longest {gap} us");
    f.finish().unwrap().assert_clean(1000);
}

#[test]
fn churn_while_advised() {
    require_root!();
    let _one = ONE.lock();
    let f = start!("mmap_churn", "threads=2");
    advise_wildly(&f);
    f.finish().unwrap().assert_clean(100);
}
