//! Verification on the kernel that the tests run on. Only throw-away processes of the command
//! itself make calls.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_wrap,
    reason = "helpers of tests fail tests"
)]

mod common;

use std::process::Command;

use serde_json::Value as Json;

fn verify(args: &[&str]) -> (Json, Option<i32>) {
    let out = Command::new(env!("CARGO_BIN_EXE_kapi"))
        .arg("verify")
        .args(args)
        .arg("--json")
        .output()
        .unwrap();
    let json = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
    (json, out.status.code())
}

fn finding<'j>(json: &'j Json, id: &str) -> (&'j str, String) {
    let found = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["clause"]["id"] == id)
        .unwrap_or_else(|| panic!("{id} in {json:#}"));
    (
        found["verdict"].as_str().unwrap(),
        found["evidence"].to_string(),
    )
}

#[test]
fn the_seeds_errors_are_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed.txt");
    std::fs::write(&path, common::seed!(folded)).unwrap();
    let (json, status) = verify(&["mlockall", "-s", path.to_str().unwrap()]);
    assert_eq!(status, Some(1));
    let (verdict, evidence) = finding(&json, "MLOCKALL-RULE-MCL_FUTURE-PERSISTENCE");
    assert_eq!(verdict, "contradicted");
    assert!(
        evidence.contains("then execve: VmLck is 0 kB and a new mapping does not have `lo`"),
        "{evidence}"
    );
    let (verdict, evidence) = finding(&json, "MLOCKALL-ERR-EAGAIN");
    assert_eq!(verdict, "not-observed");
    assert!(
        evidence.contains(
            "a mapping whose memory cannot be had: mlockall(flags = MCL_CURRENT) returned 0"
        ) || !privileged(),
        "{evidence}"
    );
    // And what is right is seen to be right.
    for id in [
        "MLOCKALL-PARAM-FLAGS",
        "MLOCKALL-RETURN",
        "MLOCKALL-ERR-EINVAL",
        "MLOCKALL-ERR-EPERM",
        "MLOCKALL-ERR-ENOMEM",
        "MLOCKALL-STATE-FUTURE-MAPPINGS",
        "MLOCKALL-NOTES",
    ] {
        if privileged() || !id.contains("PARAM") {
            assert_eq!(finding(&json, id).0, "confirmed", "{id}");
        }
    }
    assert_eq!(finding(&json, "MLOCKALL-ERR-EINTR").0, "not-observable");
    assert_eq!(
        finding(&json, "MLOCKALL-LOCK-MMAP_LOCK").0,
        "not-observable"
    );
}

fn privileged() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bits = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .map(|t| u64::from_str_radix(t.trim(), 16).unwrap())
        .unwrap();
    bits >> 14 & 1 == 1
}

#[test]
fn the_projects_own_are_not_contradicted() {
    for call in [
        "mlockall",
        "mlock",
        "munlock",
        "munlockall",
        "mincore",
        "pidfd_open",
        "pidfd_send_signal",
        "prctl_get_thp_disable",
    ] {
        let (json, status) = verify(&[call]);
        assert_eq!(status, Some(0), "{json:#}");
        assert!(json["calls"].as_u64().unwrap() > 0);
        let confirmed = json["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|f| f["verdict"] == "confirmed")
            .count();
        assert!(confirmed >= 2, "{call}: {confirmed}");
    }
}

#[test]
fn a_specification_that_was_made_wrong_is_contradicted() {
    let dir = tempfile::tempdir().unwrap();
    let right = include_str!("../../../specs/mlockall.kapi");
    let cases = [
        (
            "flags == 0 || flags == MCL_ONFAULT || flags",
            "flags == 0 || flags",
            "MLOCKALL-ERR-EINVAL",
            "though the condition does not hold",
        ),
        (
            "MCL_FUTURE and all locks are cleared by execve",
            "MCL_FUTURE persists over execve",
            "MLOCKALL-RULE-NOT-OVER-EXEC",
            "then execve",
        ),
        (
            "mask(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)",
            "mask(MCL_CURRENT | MCL_FUTURE)",
            "MLOCKALL-PARAM-FLAGS",
            "succeeded, though the value is not allowed",
        ),
        (
            "error: EPERM, No",
            "error: EACCES, No",
            "MLOCKALL-RETURN",
            "EPERM is returned, but not listed",
        ),
        (
            "   success: 0\n",
            "   success: 1\n",
            "MLOCKALL-RETURN",
            "returned 0, which is not the stated success",
        ),
    ];
    for (n, (from, to, id, evidence)) in cases.into_iter().enumerate() {
        assert!(right.contains(from), "{from}");
        let path = dir.path().join(format!("{n}.kapi"));
        std::fs::write(&path, right.replace(from, to)).unwrap();
        let (json, status) = verify(&["mlockall", "-s", path.to_str().unwrap()]);
        if !privileged() {
            continue;
        }
        assert_eq!(status, Some(1), "{to}");
        let found = finding(&json, id);
        assert_eq!(found.0, "contradicted", "{to}: {}", found.1);
        assert!(found.1.contains(evidence), "{to}: {}", found.1);
    }
}

#[test]
fn calls_that_may_harm_others_are_refused_and_unknown_ones_not_attempted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reboot.kapi");
    std::fs::write(
        &path,
        "/**\n * reboot - Restart\n *\n * contexts: process\n *\n * long-desc: No.\n */\n",
    )
    .unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_kapi"))
        .args(["verify", "reboot", "-s"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("--dangerous"));
    let (json, status) = verify(&["mctl"]);
    assert_eq!((status, json["calls"].as_u64()), (Some(0), Some(0)));
    assert!(
        json["findings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|f| f["verdict"] == "not-attempted")
    );
}
