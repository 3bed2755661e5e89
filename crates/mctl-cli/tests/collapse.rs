//! `mctl collapse` on real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::memory::{kib, populated};
use common::{host_says, mctl, ran};
use mctl_testkit::start;

const NOHUGEPAGE: i32 = 15;

/// Memory that was populated small. Nobody advised it, so on a `madvise` host khugepaged leaves it
/// alone and only a collapse makes it huge.
fn small(fixture: &mut mctl_testkit::Fixture) -> (String, String) {
    populated(fixture, "map 33554432")
}

#[test]
fn small_pages_become_huge() {
    if host_says().as_deref() != Some("madvise") {
        mctl_testkit::skip!("needs a host whose THP knob says madvise");
    }
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = small(&mut fixture);
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 0);
    let ran = mctl(&["collapse", "--dry-run", &pid]).assert(0);
    assert!(ran.out.contains("would give collapse"), "{ran:?}");
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 0);
    let ran = mctl(&["collapse", "--min-coverage", "90", &pid]).assert(0);
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 32768, "{ran:?}");
    assert!(ran.out.contains("huge pages   0.0 % → 9"), "{ran:?}");
    assert!(ran.out.contains("too small for a huge page"), "{ran:?}");
    assert_eq!(fixture.ask(&format!("check {start} {len}")).unwrap(), "ok");
    let json = mctl(&["collapse", "--json", &pid]).assert(0).json();
    let change = &json["processes"][0]["change"];
    assert!(change["huge_percent_after"].as_f64().unwrap() > 90.0);
}

/// One coverage in every command: of anonymous and shared memory together.
#[test]
fn get_and_collapse_mean_the_same_coverage() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    populated(&mut fixture, "map 8388608");
    populated(&mut fixture, "shared 25165824");
    mctl(&["collapse", "--heap", "--anon", &pid]);
    let json = mctl(&["collapse", "--json", "--heap", &pid]).json();
    let change = &json["processes"][0]["change"];
    let after = change["huge_percent_after"].as_f64().unwrap();
    let json = mctl(&["get", "--json", "-o", "+anonhuge,shmemhuge", &pid])
        .assert(0)
        .json();
    let row = &json["processes"][0];
    let number = |name: &str| row[name].as_f64().unwrap();
    let huge = number("anon_huge") + number("shmem_huge");
    assert!((number("huge") - huge).abs() < 1.0, "{row}");
    let percent = 100.0 * huge / (number("anon") + number("shmem"));
    assert!((number("coverage_percent") - percent).abs() < 0.1, "{row}");
    assert!(
        (number("coverage_percent") - after).abs() < 2.0,
        "{after}: {row}"
    );
    // Three quarters of it are shared: they are not passed over in silence.
    assert!(
        number("coverage_percent") < 50.0 || number("shmem_huge") > 0.0,
        "{row}"
    );
}

/// What a dry run says is what is done.
#[test]
fn what_is_too_small_is_said_beforehand_in_the_same_words() {
    if mctl_testkit::is_never(i32::try_from(std::process::id()).unwrap()).unwrap_or(false) {
        mctl_testkit::skip!("huge pages are disabled here");
    }
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let line = |text: &str| -> String {
        let line = text
            .lines()
            .find(|line| line.contains("too small for a huge page"));
        line.unwrap_or_default().trim().to_owned()
    };
    let dry = mctl(&["collapse", "--dry-run", &pid]).assert(0);
    assert!(
        dry.out.contains("would give collapse to 0 B in 0 mappings"),
        "{dry:?}"
    );
    let done = mctl(&["collapse", &pid]).assert(0);
    assert!(done.out.contains("collapse: 0 B advised"), "{done:?}");
    assert!(line(&dry.out).contains(" mappings ("), "{dry:?}");
    assert_eq!(line(&dry.out), line(&done.out), "{dry:?}, {done:?}");
    let bounds = |args: &[&str], what: &str| -> serde_json::Value {
        let json = mctl(args).assert(0).json();
        json["processes"][0][what]["bounds"]["too_small"].clone()
    };
    let dry = bounds(&["collapse", "-n", "--json", &pid], "plan");
    assert!(dry["mappings"].as_u64().unwrap() > 1, "{dry}");
    assert_eq!(dry, bounds(&["collapse", "--json", &pid], "advised"));
    // The same of a range that spans several mappings.
    let all = "0-7ffffffff000";
    let dry = mctl(&["collapse", "-n", "--range", all, &pid]).assert(0);
    let done = mctl(&["collapse", "--range", all, &pid]).assert(0);
    assert_eq!(line(&dry.out), line(&done.out), "{dry:?}, {done:?}");
}

#[test]
fn too_little_is_a_failure_where_it_is_asked_for() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = populated(&mut fixture, "map 8388608");
    let advise = format!("advise {start} {len} {NOHUGEPAGE}");
    assert_eq!(fixture.ask(&advise).unwrap(), "ok");
    mctl(&["collapse", "--heap", &pid]).assert(0);
    let ran = mctl(&["collapse", "--min-coverage", "95%", "--heap", &pid]).assert(1);
    assert!(ran.err.contains("less than the 95 % asked for"), "{ran:?}");
    assert!(ran.err.contains("hint: mctl map"), "{ran:?}");
    mctl(&["collapse", "--min-coverage", "0", "--heap", &pid]).assert(0);
}

#[test]
fn a_tree_becomes_huge() {
    if host_says().as_deref() != Some("madvise") {
        mctl_testkit::skip!("needs a host whose THP knob says madvise");
    }
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = small(&mut fixture);
    // From here on the child answers; it has copied the mapping.
    let child = fixture.ask("fork").unwrap().replace("fork ", "");
    assert_eq!(fixture.ask(&format!("touch {start} {len}")).unwrap(), "ok");
    let json = mctl(&["collapse", "--tree", "--json", &pid])
        .assert(0)
        .json();
    let pids: Vec<String> = json["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["pid"].to_string())
        .collect();
    assert_eq!(pids, [pid, child]);
    for row in json["processes"].as_array().unwrap() {
        assert!(
            row["change"]["huge_percent_after"].as_f64().unwrap() > 80.0,
            "{row}"
        );
    }
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 32768);
    assert_eq!(fixture.ask(&format!("check {start} {len}")).unwrap(), "ok");
    fixture.ask("exit 0").unwrap();
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 32768);
}

/// On a terminal long work shows a bar with the rate and the time left, and leaves none behind.
#[test]
fn a_bar_on_a_terminal() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = populated(&mut fixture, "map 67108864");
    let range = common::memory::range(&start, &len);
    let program = env!("CARGO_BIN_EXE_mctl");
    let on_terminal = |more: &str| {
        let line = format!("{program} collapse --pace 40ms --range {range} {more} {pid}");
        let done = ran(std::process::Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(std::process::Stdio::null()))
        .assert(0);
        done.out
    };
    let seen = on_terminal("");
    assert!(
        seen.contains("64.00 MiB") && seen.contains("/s, "),
        "{seen:?}"
    );
    assert!(seen.contains("left"), "{seen:?}");
    // The bar's line is cleared before the result is printed.
    let last = seen.rfind("left").unwrap();
    assert!(seen[last..].contains("\u{1b}[2K"), "{seen:?}");
    assert!(seen[last..].contains("collapse: "), "{seen:?}");
    assert!(!on_terminal("--quiet").contains("left"));
}

#[test]
fn bad_words() {
    for percent in ["", "101", "-1", "x", "nan"] {
        mctl(&["collapse", "--min-coverage", percent, "1"]).assert(2);
    }
    mctl::<&str>(&["collapse"]).assert(2);
}

#[test]
fn under_never_the_reason_is_the_policy() {
    if host_says().as_deref() != Some("madvise") {
        mctl_testkit::skip!("needs a host whose THP knob says madvise");
    }
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, _) = small(&mut fixture);
    mctl(&["set", "-q", "nohugepage", &pid]).assert(0);
    let ran = mctl(&["collapse", &pid]).assert(1);
    assert!(
        ran.err.contains("under the policy nohugepage"),
        "{}",
        ran.err
    );
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 0);
    mctl(&["clear", "-q", "nohugepage", &pid]).assert(0);
    mctl(&["collapse", &pid]).assert(0);
    assert_eq!(kib(&mut fixture, &start, "AnonHugePages"), 32 << 10);
}
