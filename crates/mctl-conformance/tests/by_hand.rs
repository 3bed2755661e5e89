//! `mctl-conformance model`: scenarios by hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use mctl_testkit::require_root;

/// What a command printed, and how it ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn assert(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

fn suite(args: &[&str]) -> Ran {
    let out = Command::new(env!("CARGO_BIN_EXE_mctl-conformance"))
        .args(args)
        .output()
        .unwrap();
    Ran {
        code: out.status.code(),
        out: String::from_utf8(out.stdout).unwrap(),
        err: String::from_utf8(out.stderr).unwrap(),
    }
}

const POLICY: &str = "\
case \"Never stands over advice\"
spawn p
p map a 4M
p madvise a 4M hugepage
p mctl self set-nohugepage default-exec
p touch a 4K write
expect p huge a 4M 0
expect p policy nohugepage/exec
";

fn scenario(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[test]
fn a_scenario_is_run_and_drawn() {
    let file = scenario(POLICY);
    let svg = tempfile::NamedTempFile::new().unwrap();
    let ran = suite(&["model", "run", path(&file), "--svg", path(&svg)]).assert(0);
    assert!(ran.out.contains("p mctl self set-nohugepage"), "{ran:?}");
    assert!(ran.out.contains("4096 KiB"), "{ran:?}");
    let drawn = std::fs::read_to_string(svg.path()).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.contains("set-nohugepage"));
}

#[test]
fn as_json() {
    let file = scenario(POLICY);
    let json = suite(&["model", "run", path(&file), "--json"])
        .assert(0)
        .json();
    assert_eq!(json["verdict"]["verdict"], "holds");
    let frames = json["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 7);
    let mapping = &frames[2]["tasks"][0]["mappings"][0];
    assert_eq!(
        mapping["end"].as_u64().unwrap() - mapping["start"].as_u64().unwrap(),
        4 << 20
    );
    assert!(
        mapping["flags"].as_str().unwrap().contains("hg"),
        "{mapping}"
    );
}

#[test]
fn what_comes_out_otherwise_is_said() {
    let file = scenario("spawn p\np mctl self set-nohugepage\nexpect p policy inherit\n");
    let ran = suite(&["model", "run", path(&file)]).assert(1);
    assert!(
        ran.err.contains(":3: ") && ran.err.contains("nohugepage"),
        "{ran:?}"
    );
}

#[test]
fn mistakes_are_shown_with_their_place() {
    let file = scenario("spawn p\np dance\n");
    let ran = suite(&["model", "run", path(&file)]).assert(2);
    assert!(ran.err.contains("line 2, column 3"), "{ran:?}");
    let ran = suite(&["model", "run", "/no/such/file"]).assert(2);
    assert!(ran.err.contains("/no/such/file"), "{ran:?}");
    suite(&["model"]).assert(2);
    suite(&["model", "run"]).assert(2);
}

#[test]
fn the_same_with_real_processes() {
    require_root!();
    let file = scenario(POLICY);
    let args = ["model", "run", path(&file), "--backend", "stock", "--json"];
    let ran = suite(&args);
    if ran.err.contains("another transparent_hugepage/enabled") {
        mctl_testkit::skip!("needs a host whose knob for huge pages says madvise");
    }
    let json = ran.assert(0).json();
    assert_eq!(json["verdict"]["verdict"], "holds");
    if !std::path::Path::new("/sys/kernel/mm/mctl/nr").exists() {
        let ran = suite(&["model", "run", path(&file), "--backend", "native"]).assert(2);
        assert!(ran.err.contains("does not announce mctl()"), "{ran:?}");
    }
}

/// What is typed, and what comes back.
fn typed(steps: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mctl-conformance"))
        .args(["model", "repl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(steps.as_bytes()).unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn steps_are_taken_back_explained_and_saved() {
    let saved = tempfile::NamedTempFile::new().unwrap();
    let steps = format!(
        "host thp=madvise\nspawn p\np map a 4M\np madvise a 4M hugepage\np mctl self set-nohugepage default-exec\n\
         policy\nexplain p a\nundo\npolicy p\nexplain p a\np mctl self 99 -> EINVAL\nsave {}\nexplain q a\n",
        path(&saved)
    );
    let text = typed(&steps);
    let mut at = 0;
    for piece in [
        "p: nohugepage/exec\n",
        "CONTRACT.md#thp-never\n",
        "THPeligible 0\n",
        "MADV_COLLAPSE is EINVAL",
        "taken back: p mctl self set-nohugepage default-exec\n",
        "p: inherit\n",
        "CONTRACT.md#thp-inherit\n",
        "THPeligible 1\n",
        "MADV_COLLAPSE is allowed",
        "written\n",
        "explain TASK ADDR",
    ] {
        let found = text[at..].find(piece);
        at += found.unwrap_or_else(|| panic!("no {piece:?} after {at} in {text}")) + piece.len();
    }
    // What was saved is a scenario that holds, and what was taken back is not in it.
    let scenario = std::fs::read_to_string(saved.path()).unwrap();
    assert!(scenario.contains("host thp=madvise") && scenario.contains("-> EINVAL"));
    assert!(!scenario.contains("set-nohugepage"), "{scenario}");
    suite(&["model", "run", path(&saved)]).assert(0);
}

#[test]
fn kernels_are_held_side_by_side() {
    let case = "2-madvise/guard-refuses-access";
    let ran = suite(&["model", "diff", case, "--kernel", "6.18"]).assert(0);
    assert!(ran.out.contains(" steps, 0 differ"), "{ran:?}");
    let ran = suite(&["model", "diff", case, "--kernel", "6.12"]).assert(1);
    assert!(
        ran.out
            .contains("! p madvise a 8K guard-install\n    model    ok\n    there    EINVAL\n"),
        "{ran:?}"
    );
    let ran = suite(&["model", "run", case, "--kernel", "6.12"]).assert(3);
    assert!(
        ran.err.contains("lacks MADV_GUARD_INSTALL (Linux 6.13)"),
        "{ran:?}"
    );
    for wrong in [
        ["diff", case, "--kernel", "5.10"],
        ["diff", "no/such-case", "--kernel", "6.1"],
    ] {
        suite(&[&["model"], &wrong[..]].concat()).assert(2);
    }
    let args = [
        "model",
        "run",
        case,
        "--backend",
        "stock",
        "--kernel",
        "6.1",
    ];
    let ran = suite(&args).assert(2);
    assert!(ran.err.contains("--kernel is for the model"), "{ran:?}");
}

#[test]
fn the_model_is_held_to_this_kernel() {
    require_root!();
    let file = scenario(
        "spawn p\np map a 64K\np touch a 16K write\np madvise a 8K dontneed\np lock a 4K\n",
    );
    let ran = suite(&["model", "diff", path(&file)]).assert(0);
    assert!(ran.out.contains("= p lock a 4K"), "{ran:?}");
    assert!(ran.out.contains("5 steps, 0 differ"), "{ran:?}");
}

#[test]
fn steps_are_read_and_answered() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mctl-conformance"))
        .args(["model", "repl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let steps = "spawn p\np map a 64K\np mctl self 99 -> EINVAL\np frobnicate\nquit\n";
    child
        .stdin
        .take()
        .unwrap()
        .write_all(steps.as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success());
    assert!(
        text.contains("EINVAL\n") && text.contains("line 4, column 3"),
        "{text}"
    );
}
