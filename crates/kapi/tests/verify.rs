//! Verification on the kernel that the tests run on. Only throw-away processes of the command
//! itself make calls.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_wrap,
    reason = "helpers of tests fail tests"
)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

const KAPI: &str = env!("CARGO_BIN_EXE_kapi");

fn run(args: &[&str]) -> Output {
    Command::new(KAPI).args(args).output().unwrap()
}

fn json(out: &Output) -> Json {
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)))
}

fn verify(args: &[&str]) -> (Json, Option<i32>) {
    let mut all = vec!["verify", "--json"];
    all.extend(args);
    let out = run(&all);
    (json(&out), out.status.code())
}

/// Verifies a specification that is given as text.
fn verify_text(call: &str, text: &str) -> (Json, Option<i32>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.kapi");
    std::fs::write(&path, text).unwrap();
    verify(&[call, "-s", path.to_str().unwrap()])
}

fn findings(json: &Json) -> Vec<(String, String, String)> {
    json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            (
                f["clause"]["id"].as_str().unwrap().to_owned(),
                f["verdict"].as_str().unwrap().to_owned(),
                f["evidence"].to_string(),
            )
        })
        .collect()
}

/// By the identifier, or by what comes before the words at its end.
fn finding(json: &Json, id: &str) -> (String, String) {
    findings(json)
        .into_iter()
        .find(|(found, ..)| {
            found
                .strip_prefix(id)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
        .map(|(_, verdict, evidence)| (verdict, evidence))
        .unwrap_or_else(|| panic!("{id} in {json:#}"))
}

fn contradicted(json: &Json) -> Vec<String> {
    findings(json)
        .into_iter()
        .filter(|(_, verdict, _)| verdict == "contradicted")
        .map(|(id, _, evidence)| format!("{id}: {evidence}"))
        .collect()
}

/// Whether this process may lock as much as it likes.
fn privileged() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bits = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .map(|t| u64::from_str_radix(t.trim(), 16).unwrap())
        .unwrap();
    bits >> 14 & 1 == 1
}

const MLOCKALL: &str = include_str!("../../../specs/mlockall.kapi");
const MLOCK2: &str = include_str!("../../../specs/mlock2.kapi");

#[test]
fn the_seeds_words_get_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed.txt");
    std::fs::write(&path, common::seed!(folded)).unwrap();
    let (json, status) = verify(&["mlockall", "-s", path.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{:?}", contradicted(&json));
    for (id, verdict, _) in findings(&json) {
        let words = ["EFFECT", "STATE", "ERR-E", "SIG", "ACCOUNTING"];
        if words.iter().any(|w| id.contains(w)) {
            assert!(verdict != "confirmed", "{id}");
        }
    }
    // Its expression holds; that the flag does not outlive exec is there to be read.
    let (verdict, evidence) = finding(&json, "MLOCKALL-RULE-MCL_FUTURE-PERSISTENCE");
    assert!(evidence.contains("the description was not"), "{evidence}");
    if privileged() {
        assert_eq!(verdict, "confirmed");
        assert!(
            evidence.contains("exec(mm->def_flags) is `rd wr`"),
            "{evidence}"
        );
        for id in ["PARAM-FLAGS", "RETURN", "CAP-CAP_IPC_LOCK"] {
            assert_eq!(finding(&json, &format!("MLOCKALL-{id}")).0, "confirmed");
        }
    }
    let (verdict, evidence) = finding(&json, "MLOCKALL-EFFECT-MM_POPULATE");
    assert_eq!(verdict, "not-observable", "{evidence}");
}

/// Every call of ours that kernels have, verified by `run`.
fn none_is_contradicted(run: &dyn Fn(&[&str]) -> Output) {
    let out = run(&["verify", "--all", "--json"]);
    let all = json(&out);
    let mut present = 0;
    for one in all.as_array().unwrap() {
        assert!(contradicted(one).is_empty(), "{:#?}", contradicted(one));
        if one["present"] == true {
            present += 1;
            let confirmed = findings(one).iter().filter(|f| f.1 == "confirmed").count();
            assert!(confirmed >= 2, "{}: {confirmed}", one["call"]);
            for f in one["findings"].as_array().unwrap() {
                let rests = !f["witnesses"].as_array().unwrap().is_empty();
                assert!(f["verdict"] != "confirmed" || rests, "no witness: {f:#}");
            }
        }
    }
    assert!(present >= 10, "{present}");
    assert_eq!(out.status.code(), Some(0));
}

#[test]
fn the_projects_own_are_not_contradicted() {
    none_is_contradicted(&run);
}

#[test]
fn nor_for_nobody() {
    if !rustix::process::geteuid().is_root() {
        mctl_testkit::skip!("it takes root to become nobody");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("kapi");
    std::fs::copy(KAPI, &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    none_is_contradicted(&|args| {
        Command::new(&copy)
            .args(args)
            .current_dir("/")
            .uid(65534)
            .gid(65534)
            .output()
            .unwrap()
    });
}

#[test]
fn a_specification_that_was_made_wrong_is_contradicted() {
    let cases = [
        (
            "flags == 0 || flags == MCL_ONFAULT || flags",
            "flags == 0 || flags",
            "MLOCKALL-ERR-EINVAL",
            "though the condition does not hold",
        ),
        (
            "expr: exec(mm->locked_vm) == 0",
            "expr: exec(mm->locked_vm) > 0",
            "MLOCKALL-RULE-NOT-OVER-EXEC",
            "afterwards the rule does not hold",
        ),
        (
            "mask(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)",
            "mask(MCL_CURRENT | MCL_FUTURE)",
            "MLOCKALL-PARAM-FLAGS",
            "succeeded, though the limits exclude the value",
        ),
        (
            "mask(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)",
            "mask(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT | 0x20)",
            "MLOCKALL-PARAM-FLAGS",
            "the mask allows bit 0x20",
        ),
        (
            "error: EPERM, No",
            "error: EACCES, No",
            "MLOCKALL-RETURN",
            "EPERM is returned, but not listed",
        ),
        (
            "error: EPERM, No privilege and no allowance\n",
            "error: EPERM, No privilege and no allowance\n *   code: -EACCES\n",
            "MLOCKALL-ERR-EPERM",
            "is EACCES, the name says EPERM",
        ),
        (
            "   success: 0\n",
            "   success: 1\n",
            "MLOCKALL-RETURN",
            "returned 0, which is not the stated success",
        ),
        (
            "expr: mm->locked_vm > old(mm->locked_vm)",
            "expr: mm->locked_vm < old(mm->locked_vm)",
            "MLOCKALL-EFFECT-VMLCK-IN-PROC-PID-STATUS",
            "the effect did not come",
        ),
    ];
    for (from, to, id, evidence) in cases {
        assert!(MLOCKALL.contains(from), "{from}");
        let (json, status) = verify_text("mlockall", &MLOCKALL.replace(from, to));
        if !privileged() && finding(&json, id).0 != "contradicted" {
            continue;
        }
        assert_eq!(status, Some(1), "{to}");
        let found = finding(&json, id);
        assert_eq!(found.0, "contradicted", "{to}: {}", found.1);
        assert!(found.1.contains(evidence), "{to}: {}", found.1);
    }
}

#[test]
fn words_change_no_verdict() {
    // Identifiers are made of words, so they are left out.
    let verdicts = |text: &str| -> Vec<String> {
        let (json, _) = verify_text("mlockall", text);
        findings(&json).into_iter().map(|(_, v, _)| v).collect()
    };
    let mut turned = MLOCKALL.to_owned();
    for (from, to) in [
        (
            "desc: Sets VM_LOCKED on existing",
            "desc: Clears VM_LOCKED on existing",
        ),
        ("VmLck, rises", "VmLck, falls"),
        (
            "are not inherited by a child of",
            "are inherited by each child of",
        ),
        (
            "all locks are cleared by execve",
            "all locks survive execve",
        ),
        (
            "Populates existing mappings at once",
            "Populates nothing before page fault",
        ),
    ] {
        assert!(turned.contains(from), "{from}");
        turned = turned.replace(from, to);
    }
    assert_eq!(verdicts(MLOCKALL), verdicts(&turned));
}

#[test]
fn what_is_not_known_is_never_violated() {
    let with = |param: &str| {
        let from = " * param: len\n *   type: uint, input\n";
        assert!(MLOCK2.contains(from));
        MLOCK2.replace(from, &format!("{from} *   constraint-type: {param}\n"))
    };
    for param in [
        "range(0, SIZE_MAX)",
        "range(0, LIMIT_THAT_NOBODY_KNOWS)",
        "enum(lengths_of_this_file)",
        "mask(BITS_THAT_NOBODY_KNOWS)",
    ] {
        let (json, status) = verify_text("mlock2", &with(param));
        assert_eq!(status, Some(0), "{param}: {:?}", contradicted(&json));
        assert_ne!(finding(&json, "MLOCK2-PARAM-LEN").0, "confirmed", "{param}");
    }
}

#[test]
fn an_error_that_is_listed_twice_has_both_conditions() {
    let from = " * error: EINVAL, Unknown flag or a range that wraps around\n *   condition: flags & ~MLOCK_ONFAULT || overflows(start - start % page_size, rounded(start, len))\n";
    assert!(MLOCK2.contains(from));
    let twice = " * error: EINVAL, Unknown flag\n *   condition: flags & ~MLOCK_ONFAULT\n *\n * error: EINVAL, A range that wraps around\n *   condition: overflows(start - start % page_size, rounded(start, len))\n";
    let (json, status) = verify_text("mlock2", &MLOCK2.replace(from, twice));
    assert_eq!(status, Some(0), "{:?}", contradicted(&json));
    // To one without privilege a range that wraps around is first of all one beyond its limit (ENOMEM).
    let wraps = match mctl_testkit::is_root() {
        true => "confirmed",
        false => "not-observed",
    };
    for (words, verdict) in [
        ("UNKNOWN-FLAG", "confirmed"),
        ("A-RANGE-THAT-WRAPS-AROUND", wraps),
    ] {
        let id = format!("MLOCK2-ERR-EINVAL-{words}");
        let found = finding(&json, &id);
        assert_eq!(found.0, verdict, "{found:?}");
    }
}

/// Some mutants of each clause; `kapi mutate --verify` tries all, every night.
#[test]
fn no_mutant_is_confirmed() {
    for call in [
        "munlock",
        "munlockall",
        "pidfd_open",
        "prctl_set_thp_disable",
        "mincore",
    ] {
        let out = run(&["mutate", call, "--verify", "--each", "1"]);
        let text = String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(0), "{call}: {text}");
        assert!(text.contains("| RETURN |"), "{call}: {text}");
    }
}

#[test]
fn every_call_is_in_the_log_and_can_be_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = path.to_str().unwrap();
    let (json, _) = verify(&["mlockall", "--log", log]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count() as u64, json["calls"].as_u64().unwrap());
    let witness = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|f| f["witnesses"].get(0))
        .unwrap()
        .to_string();
    let out = run(&["replay", log, "--call", &witness]);
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(0), "{told}");
    assert!(
        told.contains("1 calls made again, 0 came out otherwise"),
        "{told}"
    );
    // A log that says otherwise is found out.
    let line = text
        .lines()
        .find(|l| l.contains("\"value\":0,\"errno\":null"))
        .unwrap();
    let wrong = line.replace("\"value\":0,\"errno\":null", "\"value\":7,\"errno\":null");
    std::fs::write(&path, wrong).unwrap();
    assert_eq!(run(&["replay", log]).status.code(), Some(1));
    // And one with another call in it is not followed.
    let harmful = text
        .lines()
        .next()
        .unwrap()
        .replace("\"number\":151", "\"number\":169");
    if cfg!(target_arch = "x86_64") {
        std::fs::write(&path, harmful).unwrap();
        let out = run(&["replay", log]);
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains("--dangerous"));
    }
    assert_eq!(
        run(&["replay", log, "--call", "99999"]).status.code(),
        Some(2)
    );
    std::fs::write(&path, "no entry\n").unwrap();
    assert_eq!(run(&["replay", log]).status.code(), Some(2));
    assert!(!Path::new(log).with_extension("tmp").exists());
}

#[test]
fn a_call_that_may_harm_others_is_refused_and_a_missing_one_has_a_status_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reboot.kapi");
    std::fs::write(
        &path,
        "/**\n * reboot - Restart\n *\n * contexts: process\n *\n * long-desc: No.\n */\n",
    )
    .unwrap();
    let out = run(&["verify", "reboot", "-s", path.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("--dangerous"));
    let (json, status) = verify(&["mctl"]);
    if json["present"] == true {
        mctl_testkit::skip!("this kernel has mctl");
    }
    assert_eq!((status, json["calls"].as_u64()), (Some(3), Some(0)));
    assert!(findings(&json).iter().all(|(_, v, _)| v == "not-attempted"));
    assert_eq!(run(&["mutate", "mctl", "--verify"]).status.code(), Some(3));
}

#[test]
fn requirements_lead_to_their_witnesses() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (log, seen, spec) = (path("log"), path("seen.json"), path("mincore.kapi"));
    let text = include_str!("../../../specs/mincore.kapi");
    std::fs::write(&spec, text).unwrap();
    let out = run(&["verify", "mincore", "-s", &spec, "--json", "--log", &log]);
    std::fs::write(&seen, out.stdout).unwrap();
    let entries = std::fs::read_to_string(&log).unwrap().lines().count() as u64;
    let requirements = || -> Vec<Json> {
        let out = run(&[
            "convert",
            "-s",
            &spec,
            "--to",
            "requirements",
            "--verified",
            &seen,
        ]);
        assert_eq!(out.status.code(), Some(0));
        let json: Json = serde_json::from_slice(&out.stdout).unwrap();
        json["requirements"].as_array().unwrap().clone()
    };
    let all = requirements();
    assert!(all.len() >= 8);
    for r in &all {
        assert!(r["seen"]["verdict"].is_string(), "{r}");
        assert!(r["seen"].get("stale").is_none(), "{r}");
        for number in r["seen"]["witnesses"].as_array().unwrap() {
            assert!(number.as_u64().unwrap() < entries, "{r}");
        }
        let judged = ["confirmed", "contradicted"]
            .iter()
            .any(|v| r["seen"]["verdict"] == *v);
        if judged {
            assert_eq!(r["basis"], "machine", "{r}");
            assert!(
                !r["seen"]["witnesses"].as_array().unwrap().is_empty(),
                "{r}"
            );
        }
        assert_eq!(
            r["basis"] == "machine",
            r.get("verified_by").is_some(),
            "{r}"
        );
    }
    // One that was changed since is no longer shown by those calls.
    let changed = text.replacen(" *   desc: ", " *   desc: Otherwise. ", 1);
    assert_ne!(changed, text);
    std::fs::write(&spec, changed).unwrap();
    let stale = requirements()
        .iter()
        .filter(|r| r["seen"]["stale"] == true)
        .count();
    assert_eq!(stale, 1);
}
