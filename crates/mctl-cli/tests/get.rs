//! `mctl get`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::{AsUser, NO_PROCESS, command, host_says, mctl};
use mctl_testkit::{has_native_call, require_root, slower, spawn_tree, start};

#[test]
fn the_default_columns() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let ran = mctl(&["get", "--exact", &pid]).assert(0);
    let mut lines = ran.out.lines();
    let headings: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(
        headings.join(" "),
        "PID COMMAND POLICY EXEC RSS ANON HUGE COVERAGE WHY"
    );
    let cells: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert!(cells[1].starts_with("pause"), "{ran:?}");
    assert_eq!([cells[0], cells[2], cells[3]], [&pid, "inherit", "-"]);
    assert_eq!((lines.next(), ran.err.as_str()), (None, ""));
}

#[test]
fn every_policy_is_seen() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let seen = |look: &[&str]| {
        let args = [&["get", "-n", "-o", "POLICY,EXEC", &pid], look].concat();
        mctl(&args).assert(0).out
    };
    let policy = || seen(&["--exact"]);
    assert_eq!(policy(), "inherit -\n");
    if has_native_call() {
        // The program's own switch is no policy there, and it is said apart.
        assert_eq!(fixture.ask("setthp 1 0").unwrap(), "ok");
        assert_eq!(policy(), "thp-disabled -\n");
        assert_eq!(fixture.ask("setthp 0 0").unwrap(), "ok");
        for (kind, across, wanted) in [
            ("nohugepage", "--inherit", "nohugepage yes\n"),
            ("hugepage-advised", "-q", "hugepage-advised no\n"),
            ("hugepage", "-q", "hugepage no\n"),
        ] {
            mctl(&["set", across, kind, &pid]).assert(0);
            assert_eq!(policy(), wanted);
            assert_eq!(seen(&[]), wanted, "/proc alone says it");
        }
        mctl(&["set", "-q", "fade-on-death", &pid]).assert(0);
        assert!(policy().contains("fade-on-death"));
        return;
    }
    assert_eq!(fixture.ask("setthp 1 0").unwrap(), "ok");
    assert_eq!(policy(), "nohugepage yes\n");
    // What does not show is not said: such a kernel does not tell whether it merges.
    let alone = if common::merging_shows() {
        "nohugepage yes\n"
    } else {
        "nohugepage,mergeable? ?\n"
    };
    assert_eq!(seen(&[]), alone, "/proc alone says it");
    assert_eq!(fixture.ask("setthp 0 0").unwrap(), "ok");
    if fixture.ask("setthp 1 2").unwrap() == "ok" {
        assert_eq!(policy(), "hugepage-advised yes\n");
    }
    if fixture.ask("setmerge 1").unwrap() == "ok" {
        assert!(policy().contains("mergeable yes"));
    }
}

/// A policy is a list or null, and what could not be read is said in the document too.
#[test]
fn what_json_cannot_say_is_missing() {
    require_root!();
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let whole = mctl(&["get", "--exact", "--json", &pid]).assert(0).json();
    assert!(whole["processes"][0]["policy"].is_array(), "{whole}");
    assert!(whole["processes"][0]["missing"].is_null(), "{whole}");
    if has_native_call() {
        mctl_testkit::skip!("the policy can be read without access where the kernel has mctl(2)");
    }
    let ran = AsUser::new()
        .mctl(&["get", "--exact", "--json", &pid])
        .assert(1);
    let json = ran.json();
    let row = &json["processes"][0];
    assert!(row["policy"].is_null(), "{json}");
    let missing = row["missing"].as_array().unwrap();
    let policy = missing.iter().find(|item| item["what"] == "policy");
    assert_eq!(policy.unwrap()["error"]["errno"], "EPERM", "{json}");
}

#[test]
fn columns_as_chosen() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let ran = mctl(&["get", "--raw", "--bytes", "-o", "pid,Rss,WHY", &pid]).assert(0);
    let row: Vec<&str> = ran.out.lines().nth(1).unwrap().split(' ').collect();
    assert_eq!(row.len(), 3, "{ran:?}");
    assert!(row[1].parse::<u64>().unwrap() > 4096);
    let ran = mctl(&["get", "-o", "+uid", &pid]).assert(0);
    assert!(ran.out.lines().next().unwrap().ends_with("UID"), "{ran:?}");
    let help = mctl(&["get", "-o", "help"]).assert(0);
    assert!(help.out.contains("* COVERAGE"), "{help:?}");
    for bad in ["", "bogus", "PID,", "+"] {
        mctl(&["get", "-o", bad, &pid]).assert(2);
    }
    mctl(&["get", "--tree"]).assert(2);
    mctl(&["get", "--all", "1"]).assert(2);
    mctl(&["get", "--user", "no such user"]).assert(2);
    mctl(&["get", "--name", "[", "1"]).assert(2);
    mctl(&["get", "--sort", "bogus", "1"]).assert(2);
    mctl(&["get", "0"]).assert(2);
    mctl(&["get", "--maps", "-o", "PID", &pid]).assert(2);
}

#[test]
fn a_failure_does_not_hide_the_others() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let ran = mctl(&["get", "-n", "-o", "PID", NO_PROCESS, &pid, &pid]).assert(1);
    assert_eq!(ran.out, format!("{pid}\n"), "each once");
    assert!(ran.err.contains("ESRCH"), "{ran:?}");
    let ran = mctl(&["get", "--json", NO_PROCESS, &pid]).assert(1);
    assert_eq!(ran.json()["processes"][0]["error"]["errno"], "ESRCH");
}

#[test]
fn json_has_numbers() {
    let mut fixture = start!("touch");
    let answer = fixture.ask("map 8388608").unwrap();
    let address = answer.split(' ').nth(1).unwrap();
    assert_eq!(
        fixture.ask(&format!("touch {address} 8388608")).unwrap(),
        "ok"
    );
    let pid = fixture.pid().to_string();
    let json = mctl(&["get", "--exact", "--json", &pid]).assert(0).json();
    let row = &json["processes"][0];
    assert_eq!(row["pid"].to_string(), pid);
    assert!(row["anon"].as_u64().unwrap() >= 8 << 20);
    // Where the policy shows without a stop, none is made for the program's own switch.
    let unasked = has_native_call() && row["thp_disable"].is_null();
    assert!(row["start_time"].is_u64() && (unasked || row["thp_disable"] == 0));
    assert!(row["policy"].as_array().unwrap().is_empty());
    assert!(row["report"]["mappings"].as_u64().unwrap() > 5);
}

/// What `set hugepage` leaves behind on a host that says "madvise", or the program asked for
/// itself, shows: how many mappings, and how much.
#[test]
fn advice_shows() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let answer = fixture.ask("map 8388608").unwrap();
    let address = answer.split(' ').nth(1).unwrap().to_owned();
    let none = mctl(&["get", &pid]).assert(0);
    assert!(!none.out.contains("ADVISED"), "{none:?}");
    let named = mctl(&["get", "-o", "+advised", &pid]).assert(0);
    assert!(named.out.contains("ADVISED"), "{named:?}");
    if fixture
        .ask(&format!("advise {address} 8388608 14"))
        .unwrap()
        != "ok"
    {
        mctl_testkit::skip!("needs a kernel with transparent huge pages");
    }
    let one = mctl(&["get", &pid]).assert(0);
    let heading = one.out.lines().next().unwrap();
    assert!(heading.contains(" ADVISED "));
    assert!(one.out.contains(" 8M in 1 "), "{one:?}");
    let wanted = serde_json::json!({ "mappings": 1, "bytes": 8 << 20 });
    let json = mctl(&["get", "--json", &pid]).assert(0).json();
    assert_eq!(json["processes"][0]["advised"], wanted);
    let json = mctl(&["get", "--maps", "--json", &pid]).assert(0).json();
    assert_eq!(json["processes"][0]["advised"], wanted);
}

/// No stock kernel keeps "always": on a host that says madvise, what `set hugepage` did shows in
/// the advice of the mappings, and only there.
#[test]
fn what_set_hugepage_advised_shows() {
    if host_says().as_deref() != Some("madvise") || has_native_call() {
        mctl_testkit::skip!("needs a stock kernel whose knob says madvise");
    }
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    fixture.ask("map 8388608").unwrap();
    let read = || {
        let json = mctl(&["get", "--json", &pid]).assert(0).json();
        json["processes"][0].clone()
    };
    let before = read();
    assert_eq!(before["advised"]["mappings"], 0);
    mctl(&["set", "-q", "hugepage", &pid]).assert(0);
    let after = read();
    assert!(
        after["advised"]["mappings"].as_u64().unwrap() > 0,
        "{after}"
    );
    assert!(after["advised"]["bytes"].as_u64().unwrap() >= 8 << 20);
    assert_eq!(after["thp"], before["thp"], "the policy is what it was");
}

/// Without numbers: the caller's processes, or those that a filter lets through; only what the columns need is read.
#[test]
fn chosen_among_all() {
    let (one, other) = (start!("touch"), start!("pause"));
    let pids = [one.pid().to_string(), other.pid().to_string()];
    let shown = |args: &[&str]| -> Vec<String> {
        let args = [&["get", "-n", "-o", "PID"], args].concat();
        let out = mctl(&args).out;
        out.lines().map(|line| line.trim().to_owned()).collect()
    };
    let all = shown(&[]);
    assert!(pids.iter().all(|pid| all.contains(pid)), "{all:?}");
    let all = shown(&["--all"]);
    assert!(pids.iter().all(|pid| all.contains(pid)), "{all:?}");
    let named = shown(&["--name", "touch*"]);
    assert!(
        named.contains(&pids[0]) && !named.contains(&pids[1]),
        "{named:?}"
    );
    let own = rustix::process::getuid().as_raw().to_string();
    assert_eq!(shown(&["--user", &own, &pids[0]]), pids[..1]);
    assert!(shown(&["--user", "4294967", &pids[0]]).is_empty());
    assert_eq!(shown(&["--name", "pause*", &pids[0], &pids[1]]), pids[1..]);

    let mut sorted = pids.clone();
    sorted.sort_by_key(|pid| pid.parse::<i32>().unwrap());
    assert_eq!(shown(&["--sort", "+pid", &pids[0], &pids[1]]), sorted);
    sorted.reverse();
    assert_eq!(shown(&["--sort", "pid", &pids[0], &pids[1]]), sorted);
    // By a column that is not shown.
    assert_eq!(
        shown(&["--sort", "command", &pids[0], &pids[1]]),
        [&*pids[1], &*pids[0]]
    );
}

#[test]
fn maps() {
    let mut fixture = start!("touch");
    let answer = fixture.ask("map 8388608").unwrap();
    let address = answer.split(' ').nth(1).unwrap().trim_start_matches("0x");
    let pid = fixture.pid().to_string();
    let ran = mctl(&["get", "--maps", &pid]).assert(0);
    assert!(ran.out.starts_with("ADDRESS"), "{ran:?}");
    assert!(
        ran.out.contains("[stack]") && ran.out.contains("\ntotal "),
        "{ran:?}"
    );
    assert!(ran.out.contains(&format!("{address}-")), "{ran:?}");
    let json = mctl(&["get", "--maps", "--json", &pid, NO_PROCESS])
        .assert(1)
        .json();
    assert_eq!(json["version"], 1);
    assert_eq!(json["processes"][0]["error"]["errno"], "ESRCH", "{json}");
    let process = &json["processes"][1];
    assert!(process["total"]["rss"].as_u64().unwrap() > 0);
    assert!(
        process["maps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|vma| vma["why"].is_object())
    );
}

/// It cannot be asked, so what is shown is something else, which is said.
#[test]
fn what_is_shown_in_place_of_the_answer_is_said() {
    if has_native_call() {
        mctl_testkit::skip!("the kernel has mctl() itself, and /proc shows what it keeps");
    }
    let fixture = start!("held");
    let pid = fixture.target().to_string();
    let said = "it was not asked; what is shown of its policy is what /proc tells";
    for args in [
        &["get", "--exact", &pid][..],
        &["get", "--exact", "--maps", &pid],
    ] {
        let ran = mctl(args).assert(1);
        assert!(
            ran.err.contains("EBUSY") && ran.err.contains(said),
            "{ran:#?}"
        );
    }
    let json = mctl(&["get", "--exact", "--json", &pid]).assert(1).json();
    let missing = &json["processes"][0]["missing"][0];
    assert_eq!(missing["error"]["errno"], "EBUSY", "{json}");
    assert_eq!(missing["shown"], "what /proc tells", "{json}");
    let ran = mctl(&["get", &pid]).assert(0);
    assert_eq!(ran.err, "");
}

#[test]
fn a_tree() {
    let tree = match spawn_tree(1, 3) {
        Ok(tree) => tree,
        Err(error) => mctl_testkit::skip!("{error}"),
    };
    let pid = tree.pid().to_string();
    let ran = mctl(&["get", "-n", "-o", "PID,PPID", "--tree", &pid]).assert(0);
    assert_eq!(ran.out.lines().count(), 4, "{ran:?}");
    assert!(
        ran.out.lines().skip(1).all(|line| line.ends_with(&pid)),
        "{ran:?}"
    );
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let fixture = start!("vmas", "n=3000");
    let pid = fixture.pid().to_string();
    for args in [
        &["get", "--maps", &pid][..],
        &["get", "--maps", "--json", &pid],
        &["get", &pid],
        &["map", &pid],
        &["probe"],
        &["man"],
        &["--help"],
        &["completions", "bash"],
        &["run", "-n", "--thp", "never", "--", "true"],
    ] {
        let mut child = command()
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        assert_eq!(
            (child.wait().unwrap().code(), err.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}

#[test]
fn a_full_disk_is_a_failure() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        mctl_testkit::skip!("needs /dev/full");
    };
    let fixture = start!("pause");
    for args in [
        &["get", &fixture.pid().to_string()][..],
        &["--help"],
        &["-V"],
        &["help", "set"],
    ] {
        let mut command = command();
        command.args(args).stdout(full.try_clone().unwrap());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("ENOSPC"),
            "{args:?}"
        );
    }
}

#[test]
fn a_listing_takes_little_memory() {
    let count = usize::try_from(60_000 / slower()).unwrap();
    let fixture = start!("vmas", format!("n={count}"), "touch=1");
    let mut child = command()
        .args(["get", "--maps", &fixture.pid().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // It cannot have ended: the pipe holds less than what is left.
    let most = count.saturating_sub(5_000).max(count / 2);
    assert_eq!(lines.by_ref().take(most).count(), most);
    // Whoever takes the lines slowly holds up no look at the process: all of its files are closed.
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    for fd in open.flatten() {
        let link = std::fs::read_link(fd.path()).unwrap_or_default();
        let link = link.to_string_lossy().into_owned();
        assert!(!link.starts_with("/proc/"), "{link}");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap();
    assert!(lines.count() >= count - most);
    assert!(child.wait().unwrap().success());
    // A build for tests is several times as large as the one that is delivered.
    assert!(peak < 24 << 10, "{peak} KiB");
}

#[test]
fn what_is_not_ours_to_read() {
    require_root!();
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let ran = AsUser::new()
        .mctl(&["get", "-n", "-o", "COMMAND,ANON", &pid])
        .assert(1);
    assert!(
        ran.out.starts_with("pause") && ran.out.ends_with(" ?\n"),
        "{ran:?}"
    );
    assert!(
        ran.err.contains("EACCES") || ran.err.contains("EPERM"),
        "{ran:?}"
    );
}

#[test]
fn what_has_no_memory() {
    let zombie = start!("zombie");
    mctl(&["get", &zombie.target().to_string()]).assert(1);
}
