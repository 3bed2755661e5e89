//! `mctl map`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{NO_PROCESS, mctl};
use mctl_testkit::{Fixture, slower, start};

/// A fixture with 8 MiB of touched memory under some advice (madvise(2)'s number).
fn with_memory(advice: &str) -> Option<(Fixture, String)> {
    let mut fixture = Fixture::start("touch", &[]).ok()?;
    let answer = fixture.ask("map 8388608").unwrap();
    let address = answer.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(
        fixture
            .ask(&format!("advise {address} 8388608 {advice}"))
            .unwrap(),
        "ok"
    );
    assert_eq!(
        fixture.ask(&format!("touch {address} 8388608")).unwrap(),
        "ok"
    );
    Some((fixture, address.trim_start_matches("0x").to_owned()))
}

#[test]
fn small_and_never_are_told_apart_without_colour() {
    let Some((fixture, address)) = with_memory("15") else {
        mctl_testkit::skip!("needs the fixtures");
    };
    let pid = fixture.pid().to_string();
    let ran = mctl(&["map", "--ascii", "--width", "120", &pid]).assert(0);
    assert!(ran.out.is_ascii(), "{ran:?}");
    let line = ran
        .out
        .lines()
        .find(|line| line.starts_with(&address))
        .unwrap();
    assert!(line.ends_with("nnnnnnnnnn"), "{line}");
    assert!(
        ran.out.lines().all(|line| line.chars().count() <= 120),
        "{ran:?}"
    );
    assert!(!ran.out.contains('\x1b'), "not a terminal");
    let ran = mctl(&["map", "--color", "always", &pid]).assert(0);
    assert!(ran.out.contains("\x1b[34mn"), "{ran:?}");
}

#[test]
fn svg() {
    let Some((fixture, address)) = with_memory("14") else {
        mctl_testkit::skip!("needs the fixtures");
    };
    let pid = fixture.pid().to_string();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("map.svg");
    let ran = mctl(&["map", "--svg", path.to_str().unwrap(), &pid]).assert(0);
    assert_eq!(ran.out, "");
    let svg = std::fs::read_to_string(&path).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(svg.contains(&address), "{svg}");
    assert_eq!(
        mctl(&["map", "--svg", "-", &pid])
            .assert(0)
            .out
            .matches("</svg>")
            .count(),
        1
    );
    mctl(&["map", "--svg", "/no/such/dir/x.svg", &pid]).assert(1);
}

#[test]
fn for_programs() {
    let Some((fixture, address)) = with_memory("15") else {
        mctl_testkit::skip!("needs the fixtures");
    };
    let json = mctl(&["map", "--json", &fixture.pid().to_string()])
        .assert(0)
        .json();
    assert_eq!(json["version"], 1);
    assert!(
        json["name"].as_str().unwrap().starts_with("touch"),
        "{json}"
    );
    // Page by page: there is little memory.
    assert_eq!(json["cell_bytes"], 4096);
    let mappings = json["mappings"].as_array().unwrap();
    let wanted = format!("0x{address}");
    let mapping = mappings.iter().find(|one| one["start"] == wanted).unwrap();
    assert_eq!(mapping["advice"], "nohugepage");
    let runs = mapping["runs"].as_array().unwrap();
    assert_eq!(runs[0]["start"], wanted);
    let size = |run: &serde_json::Value| run["size"].as_u64().unwrap();
    assert_eq!(runs.iter().map(size).sum::<u64>(), 8 << 20, "{mapping}");
    assert!(runs.iter().all(|run| run["state"] != "huge"), "{mapping}");
    let sum: u64 = mappings
        .iter()
        .map(|one| one["coverage"]["rss"].as_u64().unwrap())
        .sum();
    assert_eq!(json["total"]["rss"], sum);
    mctl(&["map", "--json", "--svg", "-", "1"]).assert(2);
    mctl(&["map", "--json", NO_PROCESS]).assert(1);
}

#[test]
fn sixty_thousand_mappings_fit_a_page() {
    let fixture = start!("vmas", format!("n={}", 60_000 / slower()), "touch=1");
    let ran = mctl(&["map", "--width", "100", &fixture.pid().to_string()]).assert(0);
    assert!(ran.out.lines().count() < 200, "{}", ran.out.lines().count());
    assert!(ran.out.contains("small mappings"), "{ran:?}");
}

#[test]
fn wrong_input() {
    mctl(&["map"]).assert(2);
    mctl(&["map", "0"]).assert(2);
    mctl(&["map", "1", "2"]).assert(2);
    mctl(&["map", "--width", "3", "1"]).assert(2);
    mctl(&["map", "--width", "-3", "1"]).assert(2);
    mctl(&["map", "--color", "sometimes", "1"]).assert(2);
    let ran = mctl(&["map", NO_PROCESS]).assert(1);
    assert!(ran.err.contains("ESRCH"), "{ran:?}");
    let zombie = start!("zombie");
    mctl(&["map", &zombie.target().to_string()]).assert(1);
}
