//! Where `/proc` shows other processes than those that numbers mean, nothing is read and nothing changed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::process::Command;

use common::{Ran, ran};

/// Every command that names processes, and a form of it that would only read. `PID` is put in.
const COMMANDS: &[&[&str]] = &[
    &["get", "PID"],
    &["get", "--maps", "PID"],
    &["get", "--tree", "PID"],
    &["get", "--json", "PID"],
    &["map", "PID"],
    &["set", "nohugepage", "PID"],
    &["set", "nohugepage", "--dry-run", "PID"],
    &["set", "nohugepage", "--tree", "PID"],
    &["set", "hugepage", "PID"],
    &["set", "mergeable", "PID"],
    &["clear", "nohugepage", "PID"],
    &["advise", "cold", "PID"],
    &["advise", "cold", "--dry-run", "PID"],
    &["pageout", "PID"],
    &["cold", "PID"],
    &["collapse", "PID"],
    &["lock", "PID"],
    &["unlock", "PID"],
];

/// A shell in namespaces of its own, as whoever runs this test may have them. `$MCTL` is the command.
fn shell(namespaces: &str, script: &str) -> Option<Ran> {
    let user = if mctl_testkit::is_root() { "" } else { "Ur" };
    let flags = format!("-{user}{namespaces}");
    let unshare = |words: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["60", "unshare", &flags]).args(words);
        command.env("MCTL", env!("CARGO_BIN_EXE_mctl"));
        ran(&mut command)
    };
    if unshare(&["true"]).code != Some(0) {
        return None;
    }
    Some(unshare(&["bash", "-c", script]))
}

/// Runs every command on a process that is number `$pid` to the shell, and asks for the refusal.
#[track_caller]
fn all_refuse(namespaces: &str, before: &str, errno: &str, why: &str) {
    for words in COMMANDS {
        let words = words.join(" ").replace("PID", "$pid");
        let script =
            format!("{before}\nsleep 60 & pid=$!\n$MCTL {words}; code=$?\nkill $pid\nexit $code");
        let Some(ran) = shell(namespaces, &script) else {
            mctl_testkit::skip!("needs namespaces of its own (unshare -{namespaces})");
        };
        let said = format!("{}{}", ran.err, ran.out);
        assert_eq!(ran.code, Some(1), "{words}: {ran:#?}");
        assert!(
            said.contains(errno) && said.contains(why),
            "{words}: {ran:#?}"
        );
        assert!(
            !ran.out.contains("kthreadd") && !ran.out.contains("would"),
            "{words}: {ran:#?}"
        );
    }
}

/// The `/proc` of the namespace above: number 2 is one process there and another here.
#[test]
fn the_proc_of_another_pid_namespace() {
    all_refuse("pf", "", "EOPNOTSUPP", "/proc shows another PID namespace");
}

#[test]
fn no_proc_at_all() {
    let hide = "mount -t tmpfs none /proc || exit 77";
    all_refuse(
        "m",
        hide,
        "EOPNOTSUPP",
        "no proc file system is mounted at /proc",
    );
}

/// A mount of its own makes everything work again.
#[test]
fn with_the_proc_of_ones_own_namespace_all_is_well() {
    let script = "mount -t proc proc /proc || exit 77\n\
                  sleep 60 & pid=$!\n\
                  $MCTL set nohugepage -q $pid && grep -c 'THP_enabled:.0' /proc/$pid/status\n\
                  code=$?; kill $pid; exit $code";
    match shell("pfm", script) {
        Some(ran) if ran.code != Some(77) => {
            let ran = ran.assert(0);
            // A patched kernel keeps the policy in a record instead.
            assert!(
                ran.out == "1\n" || mctl_testkit::has_native_call(),
                "{ran:#?}"
            );
        }
        _ => mctl_testkit::skip!("needs namespaces of its own (unshare -pfm)"),
    }
}

/// `mctl run` acts on itself and names no one.
#[test]
fn a_program_is_started_whatever_proc_shows() {
    for (namespaces, before) in [("pf", ""), ("m", "mount -t tmpfs none /proc || exit 77\n")] {
        let script = format!("{before}exec $MCTL run --thp never --inherit -- echo started");
        match shell(namespaces, &script) {
            Some(ran) if ran.code != Some(77) => {
                let ran = ran.assert(0);
                assert_eq!((ran.out.as_str(), ran.err.as_str()), ("started\n", ""));
            }
            _ => mctl_testkit::skip!("needs namespaces of its own (unshare -{namespaces})"),
        }
    }
}

/// hidepid=2 hides the processes of other users: they live, and that is what is said.
#[test]
fn a_hidden_process_is_not_said_to_be_gone() {
    mctl_testkit::require_root!();
    let script = "mount -t proc -o hidepid=2 proc /proc || exit 77\n\
                  cp $MCTL /run/mctl-hidden-$$ 2>/dev/null && chmod 755 /run/mctl-hidden-$$\n\
                  sleep 60 & pid=$!\n\
                  for words in 'get' 'set nohugepage' 'cold' 'lock' 'map' 'get --tree'; do\n\
                  setpriv --reuid 65534 --regid 65534 --clear-groups /run/mctl-hidden-$$ $words $pid\n\
                  echo $?; done\n\
                  rm -f /run/mctl-hidden-$$; kill $pid; exit 0";
    // A tmpfs of its own for the copy, which the other user can reach.
    let script = format!("mount -t tmpfs -o mode=755 none /run || exit 77\n{script}");
    match shell("pfm", &script) {
        Some(ran) if ran.code != Some(77) => {
            let ran = ran.assert(0);
            let codes: Vec<&str> = ran.out.lines().filter(|line| line.len() == 1).collect();
            assert_eq!(codes, ["1"; 6], "{ran:#?}");
            let hidden = ran.err.lines().filter(|line| {
                line.contains("hidepid=") && line.contains("EPERM") && !line.contains("ESRCH")
            });
            assert_eq!(hidden.count(), 6, "{ran:#?}");
        }
        _ => mctl_testkit::skip!("needs namespaces of its own (unshare -pfm)"),
    }
}
