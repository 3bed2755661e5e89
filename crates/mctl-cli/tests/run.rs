//! `mctl run`: the program is in the place of mctl, under the policy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use common::{command, host_says, mctl};
use mctl_testkit::has_native_call;

const NEVER: [&str; 5] = ["run", "--thp", "never", "-q", "--"];

fn never(program: &[&str]) -> common::Ran {
    mctl(&[&NEVER[..], program].concat())
}

#[test]
fn the_program_runs_under_the_policy() {
    // Where the kernel has the call: NOHUGEPAGE, bit 1, and that it survives exec, bit 9.
    let (key, wanted) = if has_native_call() {
        ("Mctl", "Mctl:\t00000202\n")
    } else {
        ("THP_enabled", "THP_enabled:\t0\n")
    };
    let ran = never(&["grep", key, "/proc/self/status"]).assert(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), (wanted, ""));
}

#[test]
fn it_is_the_same_process() {
    let child = command()
        .args([&NEVER[..], &["sh", "-c", "echo $$"]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{pid}\n"));
}

#[test]
fn the_exit_status_is_the_programs() {
    for code in [0, 1, 2, 7, 125, 126, 127, 255] {
        never(&["sh", "-c", &format!("exit {code}")]).assert(code);
    }
}

#[test]
fn a_signal_is_the_programs() {
    let status = command()
        .args([&NEVER[..], &["sh", "-c", "kill -TERM $$"]].concat())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(15));
}

#[test]
fn a_broken_pipe_kills_the_program_as_ever() {
    let script = "yes | head -n 1; grep SigIgn /proc/self/status";
    let ran = never(&["sh", "-c", script]).assert(0);
    let ignored = ran.out.strip_prefix("y\nSigIgn:\t").unwrap().trim();
    let sigpipe = 1 << 12;
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & sigpipe, 0);
}

#[test]
fn what_cannot_be_executed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "no program").unwrap();
    for (program, code, errno) in [
        ("/no/such/program", 127, "ENOENT"),
        ("mctl-no-such-program", 127, "ENOENT"),
        (file.to_str().unwrap(), 126, "EACCES"),
        ("/", 126, "EACCES"),
    ] {
        // A folder of PATH that this user may not search makes it EACCES, as of env(1).
        let mut command = command();
        command
            .args(NEVER)
            .arg(program)
            .env("PATH", "/usr/bin:/bin");
        let ran = common::ran(&mut command).assert(code);
        assert!(
            ran.err.starts_with(&format!("mctl: {program}: ")),
            "{ran:?}"
        );
        assert!(ran.err.contains(errno), "{ran:?}");
    }
}

#[test]
fn own_failures_are_125_and_execute_nothing() {
    for args in [
        &["run"][..],
        &["run", "--", "echo", "executed"],
        &["run", "--thp", "never"],
        &["run", "--thp", "never", "--"],
        &["run", "--thp", "sometimes", "--", "echo", "executed"],
        &["run", "--thp", "never", "--bogus", "--", "echo", "executed"],
        &[
            "run", "--thp", "never", "--thp", "always", "--", "echo", "executed",
        ],
        // It also survives exec, which was not asked for.
        &[
            "run", "--thp", "never", "--strict", "--", "echo", "executed",
        ],
    ] {
        let ran = mctl(args).assert(125);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{ran:?}");
    }
}

#[test]
fn strict_is_content_with_inherit() {
    let ran = mctl(&[
        "run",
        "--thp",
        "never",
        "--strict",
        "--inherit",
        "--",
        "echo",
        "executed",
    ]);
    let ran = ran.assert(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("executed\n", ""));
}

#[test]
fn the_shortfall_is_one_line_and_none_with_quiet() {
    let ran = mctl(&["run", "--thp", "never", "--", "true"]).assert(0);
    assert_eq!(ran.err.lines().count(), 1);
    assert!(ran.err.starts_with("mctl: note: "), "{ran:?}");
    assert_eq!(never(&["true"]).assert(0).err, "");
}

#[test]
fn options_after_the_program_are_the_programs() {
    let ran = mctl(&[
        "run", "--thp", "never", "-q", "echo", "-q", "--thp", "--help",
    ])
    .assert(0);
    assert_eq!(ran.out, "-q --thp --help\n");
}

#[test]
fn arguments_are_any_bytes() {
    let mut args: Vec<OsString> = NEVER.iter().map(OsString::from).collect();
    args.extend(["printf", "%s"].map(OsString::from));
    args.push(OsString::from_vec(b"a\xff\xfe\n".to_vec()));
    let output = command().args(args).output().unwrap();
    assert_eq!(output.stdout, b"a\xff\xfe\n");
}

#[test]
fn inherit_takes_off_what_was_inherited() {
    let exe = env!("CARGO_BIN_EXE_mctl");
    let grep = ["grep", "THP_enabled", "/proc/self/status"];
    for outer in ["never", "advised"] {
        let mut args = vec!["run", "--thp", outer, "-q", exe, "run", "--thp", "inherit"];
        args.extend(grep);
        let ran = mctl(&args);
        if ran.err.contains("EXCEPT_ADVISED") {
            mctl_testkit::skip!("needs PR_THP_DISABLE_EXCEPT_ADVISED");
        }
        let ran = ran.assert(0);
        assert_eq!(
            (ran.out.as_str(), ran.err.as_str()),
            ("THP_enabled:\t1\n", "")
        );
    }
}

#[test]
fn merging() {
    let stat = std::fs::read_to_string("/proc/self/ksm_stat").unwrap_or_default();
    if !stat.contains("ksm_merge_any") {
        mctl_testkit::skip!("needs KSM, and ksm_merge_any in ksm_stat");
    }
    let ran = mctl(&["run", "--merge", "-q", "--", "cat", "/proc/self/ksm_stat"]).assert(0);
    assert!(ran.out.contains("ksm_merge_any: yes"), "{ran:?}");
}

#[test]
fn the_child_sees_the_policy_of_its_parent() {
    let script = format!("{} get -n -o POLICY $$", env!("CARGO_BIN_EXE_mctl"));
    let ran = never(&["sh", "-c", &script]).assert(0);
    assert_eq!(ran.out, "nohugepage\n");
}

#[test]
fn always_is_refused_where_only_advice_could_do_it() {
    if host_says().as_deref() != Some("madvise") {
        mctl_testkit::skip!("needs a host whose knob says madvise");
    }
    let args = [
        "run",
        "--thp",
        "always",
        "--",
        "grep",
        "-s",
        "Mctl",
        "/proc/self/status",
    ];
    if has_native_call() {
        // HUGEPAGE, bit 0, and that it survives exec, bit 8.
        assert_eq!(mctl(&args).assert(0).out, "Mctl:\t00000101\n");
        return;
    }
    let ran = mctl(&args).assert(125);
    assert!(
        ran.out.is_empty() && ran.err.contains("EOPNOTSUPP"),
        "{ran:?}"
    );
}

#[test]
fn a_dry_run_executes_nothing() {
    let ran = mctl(&[
        "run",
        "--thp",
        "never",
        "--dry-run",
        "--",
        "touch",
        "/nonexistent/x",
    ]);
    let ran = ran.assert(0);
    let call = if has_native_call() {
        "would call mctl(PIDFD, MCTL_SET_NOHUGEPAGE, MCTL_SET_DEFAULT_EXEC)"
    } else {
        "would call prctl(PR_SET_THP_DISABLE, 1, 0)"
    };
    assert!(ran.out.contains(call), "{ran:?}");
    assert!(
        ran.out.ends_with("would execute touch /nonexistent/x\n"),
        "{ran:?}"
    );
}

/// What a service manager sets up is handed on: an ignored SIGPIPE stays ignored, a blocked signal
/// stays blocked. (Rust ignores SIGPIPE at its start, and its own exec would reset both.)
#[test]
fn dispositions_and_mask_are_handed_on() {
    let fields = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"))
            .map(str::to_owned)
            .collect()
    };
    let show = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    for trap in ["trap '' PIPE", "trap '' PIPE USR1", "true"] {
        let shell = |words: &str| {
            let script = format!("{trap}; exec {words}");
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let plain = shell(&show.map(|word| format!("'{word}'")).join(" "));
        let mctl = env!("CARGO_BIN_EXE_mctl");
        let quoted = show.map(|word| format!("'{word}'")).join(" ");
        let under = shell(&format!("{mctl} run -q --thp never -- {quoted}"));
        assert_eq!(fields(&under), fields(&plain), "{trap}");
        assert_eq!(fields(&plain).len(), 2);
    }
}
