//! `mctl restore` of what `mctl get --json` saved.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::File;

use common::{command, mctl, ran, thp_enabled};
use mctl_testkit::{has_native_call, start};

#[test]
fn there_and_back() {
    let mut first = start!("touch");
    let second = start!("pause");
    let pids = [first.pid().to_string(), second.pid().to_string()];
    mctl(&["set", "-q", "nohugepage", &pids[0]]).assert(0);
    let saved = mctl(&["get", "--exact", "--json", &pids[0], &pids[1]]).assert(0);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved.json");
    std::fs::write(&path, &saved.out).unwrap();

    mctl(&["clear", "nohugepage", &pids[0]]).assert(0);
    mctl(&["set", "-q", "nohugepage", &pids[1]]).assert(0);
    let file = path.to_str().unwrap();
    let json = mctl(&["restore", "--dry-run", "--json", file])
        .assert(0)
        .json();
    assert_eq!(json["processes"][0]["state"]["thp_disable"], 1, "{json}");
    assert!(json["processes"][0].get("outcome").is_none(), "{json}");
    let dry = mctl(&["restore", "--dry-run", file]).assert(0);
    assert_eq!(dry.out.matches("would put back").count(), 2, "{dry:?}");
    assert!(thp_enabled(first.pid()) && !thp_enabled(second.pid()));
    mctl(&["restore", file]).assert(0);
    assert_eq!(first.ask("never").unwrap(), "never 1");
    assert!(thp_enabled(second.pid()));

    // The same from standard input, a process having ended meanwhile.
    drop(second);
    mctl(&["clear", "nohugepage", &pids[0]]).assert(0);
    let input = File::open(&path).unwrap();
    let done = ran(command().args(["restore", "--json", file]))
        .assert(1)
        .json();
    assert_eq!(done["processes"][0]["changed"], true, "{done}");
    assert_eq!(done["processes"][1]["error"]["errno"], "ESRCH", "{done}");
    mctl(&["clear", "nohugepage", &pids[0]]).assert(0);
    let done = ran(command().args(["restore", "-v", "-"]).stdin(input)).assert(1);
    assert!(
        done.err.contains("ESRCH") && done.out.contains("put back"),
        "{done:?}"
    );
    assert_eq!(first.ask("never").unwrap(), "never 1");
}

#[test]
fn a_list_without_more_will_do() {
    let fixture = start!("pause");
    let saved = mctl(&["get", "--exact", "--json", &fixture.pid().to_string()]).assert(0);
    let list = saved.json()["processes"].to_string();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.json");
    std::fs::write(&path, list).unwrap();
    mctl(&["set", "-q", "nohugepage", &fixture.pid().to_string()]).assert(0);
    mctl(&["restore", path.to_str().unwrap()]).assert(0);
    assert!(thp_enabled(fixture.pid()));
}

/// Which of the two it was did not show. It is left alone, and from "never" it comes back to where
/// pages are placed as before; what would make a difference is refused.
#[test]
fn one_of_two_states_is_never_guessed() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    if has_native_call() || fixture.ask("setthp 1 2").unwrap() != "ok" {
        mctl_testkit::skip!("needs PR_THP_DISABLE_EXCEPT_ADVISED without a policy record");
    }
    let saved = mctl(&["get", "--json", &pid]).assert(0);
    if saved.json()["processes"][0]["thp"] != "inherit-or-advised" {
        mctl_testkit::skip!("needs a host that gives no huge page unasked");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved.json");
    std::fs::write(&path, &saved.out).unwrap();
    let file = path.to_str().unwrap();
    let state = |look: &[&str]| {
        let args = [&["get", "-n", "-o", "POLICY"], look, &[&pid]].concat();
        mctl(&args).assert(0).out
    };
    // Not "never": it keeps what it is.
    mctl(&["restore", file]).assert(0);
    assert_eq!(state(&["--exact"]), "hugepage-advised\n");
    mctl(&["set", "-q", "nohugepage", &pid]).assert(0);
    assert_eq!(state(&[]), "nohugepage\n");
    let done = mctl(&["restore", file]).assert(0);
    assert!(
        done.err.contains("come to the same"),
        "it is said: {done:?}"
    );
    assert_eq!(state(&["--exact"]), "inherit\n");
    // Saved where it made a difference: nothing is guessed.
    let unsure = saved.out.replace("inherit-or-advised", "unknown");
    std::fs::write(&path, unsure).unwrap();
    mctl(&["restore", file]).assert(0);
    mctl(&["set", "-q", "nohugepage", &pid]).assert(0);
    for words in [&["restore", file][..], &["restore", "-n", file]] {
        let done = mctl(words).assert(1);
        assert!(done.err.contains("EOPNOTSUPP"), "{done:?}");
    }
    assert_eq!(state(&[]), "nohugepage\n");
}

#[test]
fn files_that_make_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let path = path.to_str().unwrap();
    for text in [
        "",
        "{",
        "{}",
        "[1]",
        "\u{0}",
        r#"{"processes":[{"pid":"1"}]}"#,
        r#"{"processes":[{"pid":99999999999,"inode":1,"start_time":1,"name":"x"}]}"#,
    ] {
        std::fs::write(path, text).unwrap();
        let ran = mctl(&["restore", path]).assert(2);
        assert!(ran.err.contains("hint: "), "{text}: {ran:?}");
    }
    // What the parser did not expect is shown in short; nesting and repetition are no way in.
    for text in [
        format!(r#"[{{"pid":"{}"}}]"#, "x".repeat(4_000_000)),
        "[".repeat(200_000),
        r#"{"a":"#.repeat(200_000),
        r#"{"\u001b]0;x\u0007\u202e":[{"pid":"\u009b\n"}],"processes":7}"#.to_owned(),
    ] {
        std::fs::write(path, text).unwrap();
        let ran = mctl(&["restore", path]).assert(2);
        assert!(ran.err.len() < 1000, "{} bytes", ran.err.len());
        assert!(
            ran.err.chars().all(|c| c == '\n' || !c.is_control()),
            "{ran:?}"
        );
    }
    let fixture = start!("pause");
    // A process that stands there twice: neither state is put back.
    let pid = fixture.pid();
    let mut saved = mctl(&["get", "--exact", "--json", &pid.to_string()])
        .assert(0)
        .json();
    let row = saved["processes"][0].clone();
    saved["processes"][0]["thp_disable"] = 1.into();
    saved["processes"].as_array_mut().unwrap().push(row);
    std::fs::write(path, saved.to_string()).unwrap();
    let ran = mctl(&["restore", path]).assert(2);
    assert!(
        ran.err
            .contains(&format!("process {pid} stands in it twice")),
        "{ran:?}"
    );
    assert!(thp_enabled(pid));
    let maps = mctl(&["get", "--json", "--maps", &fixture.pid().to_string()]).assert(0);
    std::fs::write(path, maps.out).unwrap();
    let ran = mctl(&["restore", path]).assert(2);
    assert!(
        ran.err.contains("without --maps") && !ran.err.contains("variant"),
        "{ran:?}"
    );
    std::fs::write(path, [0xff, 0xfe]).unwrap();
    mctl(&["restore", path]).assert(2);
    mctl(&["restore", "/no/such/file"]).assert(1);
    mctl(&["restore", "/"]).assert(1);
    mctl(&["restore"]).assert(2);
}

/// However large, endless or silent a file is: it is refused, and in bounded memory.
#[test]
fn files_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let huge = dir.path().join("huge");
    File::create(&huge).unwrap().set_len(8 << 30).unwrap();
    let fifo = dir.path().join("fifo");
    let made = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(made.success());
    // Far less address space than the file is large.
    let limited = |words: &str, wanted: &[i32]| {
        let script = format!(
            "ulimit -v 2000000; exec timeout 120 {} {words}",
            env!("CARGO_BIN_EXE_mctl")
        );
        let ran = ran(std::process::Command::new("bash").args(["-c", &script]));
        assert!(wanted.contains(&ran.code.unwrap_or(-1)), "{words}: {ran:?}");
        assert!(
            !ran.err.is_empty() && !ran.err.contains("panicked"),
            "{words}: {ran:?}"
        );
        ran
    };
    let said = limited(&format!("restore {}", huge.display()), &[1]);
    assert!(said.err.contains("larger than 16 MiB"), "{said:?}");
    limited("restore /dev/zero", &[1]);
    limited("restore - < /dev/zero", &[1]);
    limited("restore <(yes '[')", &[1]);
    // No writer: the end of the file at once.
    limited(&format!("restore {}", fifo.display()), &[2]);
    // Many small things, each of which would be kept as a value of its own.
    limited("restore <(echo '['; yes 1,)", &[1, 2]);
    limited("restore <(yes '{\"processes\":' | head -n 500000)", &[2]);
}

/// A pipe is as good as a file.
#[test]
fn a_pipe_from_a_shell() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let script = format!(
        "{0} restore -v <({0} get --json {pid}; sleep 0.1)",
        env!("CARGO_BIN_EXE_mctl")
    );
    let ran = ran(std::process::Command::new("bash").args(["-c", &script])).assert(0);
    assert!(ran.out.contains("already so"), "{ran:?}");
}
