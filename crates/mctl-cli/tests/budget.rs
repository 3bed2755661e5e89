//! What the host or a memory cgroup cannot bear is refused beforehand, with the figures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::memory::{kib, mapped};
use common::{command, mctl};
use mctl_testkit::{Fixture, MemoryCgroup, start};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

macro_rules! cgroup {
    ($name:literal, $limit:expr) => {
        match MemoryCgroup::with_limit($name, $limit) {
            Ok(cgroup) => cgroup,
            Err(why) => mctl_testkit::skip!("{why}"),
        }
    };
}

/// A reservation of which 64 pages are there.
fn reserved(fixture: &mut Fixture, len: u64) -> String {
    let (start, len) = mapped(fixture, &format!("reserve {len}"));
    assert_eq!(
        fixture.ask(&format!("spread {start} {len} 64")).unwrap(),
        "ok"
    );
    start
}

fn rss_kib(fixture: &mut Fixture) -> u64 {
    let answer = fixture.ask("total Rss").unwrap();
    answer.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_reservation_is_not_locked_into_a_small_cgroup() {
    mctl_testkit::require_root!();
    let cgroup = cgroup!("lock", 150 * MIB);
    let mut fixture = start!("touch");
    cgroup.take(fixture.pid()).unwrap();
    let pid = fixture.pid().to_string();
    reserved(&mut fixture, 2 * TIB);
    let before = rss_kib(&mut fixture);
    let ran = mctl(&["lock", &pid]).assert(1);
    for words in ["2 TiB", "150 MiB", &cgroup.name(), "ENOMEM", "--onfault"] {
        assert!(ran.err.contains(words), "{words}: {ran:?}");
    }
    // The same words where nothing would have been done.
    let dry = mctl(&["lock", "--dry-run", &pid]).assert(1);
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    assert!(
        first(&dry.err).contains("it would bring in up to 2 TiB"),
        "{dry:?}"
    );
    let json = mctl(&["lock", "--dry-run", "--json", &pid])
        .assert(1)
        .json();
    assert_eq!(json["processes"][0]["error"]["errno"], "ENOMEM", "{json}");
    assert_eq!(fixture.ask("total Locked").unwrap(), "Locked 0 kB");
    let grown = rss_kib(&mut fixture) - before;
    assert!(grown < 4096, "{grown} KiB came in");
    mctl(&["lock", "--onfault", &pid]).assert(0);
    mctl(&["unlock", &pid]).assert(0);
    fixture.finish().unwrap().assert_clean(1);
}

/// Each of them alone would fit: a dry run counts them together, as the real one finds out.
#[test]
fn a_dry_run_of_several_counts_what_those_before_take() {
    mctl_testkit::require_root!();
    let cgroup = cgroup!("several", 256 * MIB);
    let mut fixtures = [start!("touch"), start!("touch"), start!("touch")];
    let mut pids = Vec::new();
    for fixture in &mut fixtures {
        cgroup.take(fixture.pid()).unwrap();
        pids.push(fixture.pid().to_string());
        mapped(fixture, &format!("map {}", 96 * MIB));
    }
    let args = |command: &[&'static str]| -> Vec<String> {
        let words = command.iter().map(|word| (*word).to_owned());
        words.chain(pids.clone()).collect()
    };
    for pid in &pids {
        mctl(&["lock", "-n", pid]).assert(0);
    }
    let dry = mctl(&args(&["lock", "--dry-run"])).assert(1);
    let refused = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("ENOMEM"));
        let whom = lines.filter_map(|line| line.split(':').nth(1));
        whom.map(|who| who.trim().to_owned()).collect()
    };
    let third = [format!("process {}", pids[2])];
    assert_eq!(refused(&dry.err), third, "{dry:?}");
    assert!(
        dry.err.contains("the processes before it would take 1")
            && dry.err.contains(&cgroup.name()),
        "{dry:?}"
    );
    let json = mctl(&args(&["lock", "-n", "--json"])).assert(1).json();
    let of = |nth: usize| &json["processes"][nth];
    assert!(
        of(0)["cost"]["bytes"].as_u64().unwrap() >= 96 * MIB,
        "{json}"
    );
    assert!(
        of(1)["cost"]["room"]["host"]["ahead"].as_u64().unwrap() >= 96 * MIB,
        "{json}"
    );
    assert_eq!(of(2)["error"]["errno"], "ENOMEM", "{json}");
    // It is as the dry run said.
    let done = mctl(&args(&["lock"])).assert(1);
    assert_eq!(refused(&done.err), third, "{done:?}");
    mctl(&args(&["unlock"])).assert(0);
    for fixture in fixtures {
        fixture.finish().unwrap().assert_clean(1);
    }
}

#[test]
fn it_is_not_populated_either() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let start = reserved(&mut fixture, 32 * TIB);
    for advice in ["populate-write", "populate-read"] {
        let range = common::memory::range(&start, &(32 * TIB).to_string());
        // To read it takes page tables only, of 64 GiB.
        if mctl(&["advise", "-n", advice, "--range", &range, &pid]).code == Some(0) {
            mctl_testkit::skip!("the machine has room for it");
        }
        let ran = mctl(&["advise", advice, "--range", &range, &pid]).assert(1);
        assert!(ran.err.contains("ENOMEM"), "{ran:?}");
        assert!(ran.err.contains("--max-growth"), "{ran:?}");
        if advice == "populate-read" {
            // 8 bytes a page; the figures are rounded down.
            assert!(ran.err.contains("up to 63 GiB"), "{ran:?}");
        }
    }
    assert!(kib(&mut fixture, &start, "Rss") < 4096);
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn nearly_empty_blocks_are_not_made_huge_unasked() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let start = reserved(&mut fixture, GIB);
    let range = common::memory::range(&start, &GIB.to_string());
    let before = kib(&mut fixture, &start, "Rss");
    for words in [&["collapse"][..], &["advise", "collapse", "--skip-errors"]] {
        let args = [words, &["--range", &range, &pid]].concat();
        let ran = mctl(&args).assert(0);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(
            said.contains("64 blocks of 2 MiB hold too little"),
            "{ran:?}"
        );
        assert!(said.contains("--max-growth"), "{ran:?}");
        assert_eq!(kib(&mut fixture, &start, "Rss"), before, "{ran:?}");
    }
    let dry = mctl(&["collapse", "-n", "--json", "--range", &range, &pid]);
    let plan = &dry.assert(0).json()["processes"][0]["plan"]["bounds"];
    assert_eq!(plan["sparse"]["blocks"], 64, "{plan}");
    assert_eq!(plan["cost"]["bytes"], 0, "{plan}");
    // 8 MiB: four of them, each of which adds nearly 2 MiB.
    mctl(&["collapse", "--max-growth", "8M", "--range", &range, &pid]).assert(0);
    let grown = kib(&mut fixture, &start, "Rss") - before;
    assert!(grown <= 8192, "{grown} KiB");
    let huge = kib(&mut fixture, &start, "AnonHugePages");
    if huge == 0 {
        mctl_testkit::skip!("the machine has no huge pages to give");
    }
    assert!(huge <= 8192, "{huge} KiB");
    fixture.finish().unwrap().assert_clean(1);
}

#[test]
fn growth_ends_where_it_may_not_go_on() {
    mctl_testkit::require_root!();
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = mapped(&mut fixture, &format!("map {}", 256 * MIB));
    let range = common::memory::range(&start, &len);
    let ran = mctl(&[
        "advise",
        "populate-write",
        "--max-growth",
        "16M",
        "--range",
        &range,
        &pid,
    ])
    .assert(0);
    assert!(ran.err.contains("it has grown by"), "{ran:?}");
    let rss = kib(&mut fixture, &start, "Rss");
    assert!((8 << 10..=20 << 10).contains(&rss), "{rss} KiB: {ran:?}");
    let ran = mctl(&["lock", "--max-growth", "16M", &pid]).assert(0);
    assert!(ran.err.contains("it has grown by"), "{ran:?}");
    let grown = kib(&mut fixture, &start, "Rss") - rss;
    assert!(grown <= 24 << 10, "{grown} KiB: {ran:?}");
    fixture.finish().unwrap().assert_clean(1);
}

/// Others allocate too: what had room in the beginning need not have it later.
#[test]
fn the_room_is_looked_at_again_between_calls() {
    mctl_testkit::require_root!();
    let cgroup = cgroup!("room", 128 * MIB);
    let (mut fixture, mut other) = (start!("touch"), start!("touch"));
    cgroup.take(fixture.pid()).unwrap();
    cgroup.take(other.pid()).unwrap();
    let pid = fixture.pid().to_string();
    let (start, len) = mapped(&mut fixture, &format!("map {}", 64 * MIB));
    let range = common::memory::range(&start, &len);
    let child = command()
        .args([
            "advise",
            "populate-write",
            "--pace",
            "100ms",
            "--range",
            &range,
            &pid,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Some of it has come in; it takes 3 s in all.
    while kib(&mut fixture, &start, "Rss") == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (theirs, len) = mapped(&mut other, &format!("map {}", 104 * MIB));
    let touched = other.ask(&format!("touch {theirs} {}", 100 * MIB));
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        touched.unwrap(),
        "ok",
        "{len}: the other one was not killed: {err}"
    );
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("no room for more"), "{err}");
    assert!(err.contains(&cgroup.name()), "{err}");
    assert!(!fixture.has_ended());
}

#[test]
fn a_target_that_ran_out_of_memory_is_said_to_have_died_of_it() {
    mctl_testkit::require_root!();
    let cgroup = cgroup!("oom", 96 * MIB);
    let mut fixture = start!("touch");
    cgroup.take(fixture.pid()).unwrap();
    let pid = fixture.pid().to_string();
    let (start, len) = mapped(&mut fixture, &format!("map {}", 16 * MIB));
    let (large, _) = mapped(&mut fixture, &format!("map {}", 256 * MIB));
    let range = common::memory::range(&start, &len);
    let child = command()
        .args([
            "advise",
            "populate-write",
            "--pace",
            "3s",
            "--range",
            &range,
            &pid,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while kib(&mut fixture, &start, "Rss") == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    // It dies of that, during the pause.
    fixture
        .send(&format!("touch {large} {}", 256 * MIB))
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(!err.contains("no such process"), "{err}");
    if fixture.has_ended() && !err.contains("no room for more") {
        assert!(err.contains("out of memory in its memory cgroup"), "{err}");
        assert!(err.contains(&cgroup.name()), "{err}");
    }
}
