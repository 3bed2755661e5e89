//! `mctl set` on real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{AsUser, NO_PROCESS, NOBODY, mctl, thp_enabled};
use mctl_testkit::{Fixture, has_native_call, require_root, spawn_tree, start};

#[test]
fn set_see_it_from_inside_clear() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    assert_eq!(fixture.ask("never").unwrap(), "never 0");
    let ran = mctl(&["set", "nohugepage", "--inherit", &pid]).assert(0);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("", ""),
        "silence is success"
    );
    assert_eq!(fixture.ask("never").unwrap(), "never 1");
    mctl(&["clear", "nohugepage", &pid]).assert(0);
    assert_eq!(fixture.ask("never").unwrap(), "never 0");
}

#[test]
fn several_policies_in_every_order_of_words() {
    for words in [&["nohugepage,mergeable"][..], &["mergeable", "nohugepage"]] {
        let mut fixture = start!("touch");
        if fixture.ask("merge").unwrap() != "merge 0" {
            mctl_testkit::skip!("needs PR_SET_MEMORY_MERGE");
        }
        let pid = fixture.pid().to_string();
        let args = [&["set", "-q"], words, &["-p", &pid]].concat();
        assert_eq!(mctl(&args).assert(0).err, "");
        assert_eq!(fixture.ask("never").unwrap(), "never 1");
        assert_eq!(fixture.ask("merge").unwrap(), "merge 1");
    }
}

#[test]
fn the_shortfall_is_said_and_strict_refuses() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    if has_native_call() {
        // There is none there: what does not survive exec is the kernel's own.
        let ran = mctl(&["set", "nohugepage", "--strict", &pid]).assert(0);
        assert_eq!(ran.err, "");
        assert!(!thp_enabled(fixture.pid()));
        return;
    }
    let ran = mctl(&["set", "nohugepage", "--strict", &pid]).assert(1);
    assert!(
        ran.err.contains("EOPNOTSUPP") && ran.err.contains("hint: "),
        "{ran:?}"
    );
    assert!(thp_enabled(fixture.pid()), "nothing was touched");
    let json = mctl(&["set", "nohugepage", "--strict", "--json", &pid]).assert(1);
    let hint = json.json()["processes"][0]["error"]["hint"].clone();
    assert!(
        hint.as_str().unwrap().contains("without --strict"),
        "{json:?}"
    );
    let ran = mctl(&["set", "nohugepage", &pid]).assert(0);
    assert!(
        ran.err.starts_with(&format!("mctl: note: process {pid}: ")),
        "{ran:?}"
    );
    assert!(!thp_enabled(fixture.pid()));
    mctl(&["set", "nohugepage", "--strict", "--inherit", &pid]).assert(0);
}

#[test]
fn the_same_note_for_many_is_one_line() {
    let fixtures = [start!("pause"), start!("pause"), start!("pause")];
    let pids: Vec<String> = fixtures.iter().map(|f| f.pid().to_string()).collect();
    let mut args = vec!["set", "nohugepage"];
    args.extend(pids.iter().map(String::as_str));
    let ran = mctl(&args).assert(0);
    if has_native_call() {
        assert_eq!(ran.err, "", "nothing falls short there");
        return;
    }
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    assert!(ran.err.contains("3 processes"), "{ran:?}");
}

#[test]
fn verbose_and_json_say_what_was_done() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let ran = mctl(&["set", "-v", "--inherit", "nohugepage", &pid]).assert(0);
    assert!(ran.out.starts_with(&format!("{pid} (pause")), "{ran:?}");
    assert!(
        ran.out.contains("): set nohugepage: done; now enforced"),
        "{ran:?}"
    );
    let ran = mctl(&["set", "--json", "--inherit", "nohugepage", &pid, NO_PROCESS]).assert(1);
    let json = ran.json();
    assert_eq!(json["request"], "set nohugepage");
    let by_pid = |pid: &str| {
        let list = json["processes"].as_array().unwrap();
        list.iter()
            .find(|p| p["pid"].as_i64() == pid.parse().ok())
            .unwrap()
    };
    let done = by_pid(&pid);
    assert_eq!(
        (&done["exact"], &done["changed"]),
        (&true.into(), &false.into())
    );
    assert_eq!(done["outcome"]["guarantees"]["exec"], "enforced");
    if has_native_call() {
        assert_eq!(done["outcome"]["mechanisms"][0], "native-call");
    } else {
        assert_eq!(done["outcome"]["thp_disable_after"], 1);
    }
    assert_eq!(by_pid(NO_PROCESS)["error"]["errno"], "ESRCH");
}

#[test]
fn one_failure_does_not_stop_the_others() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let ran = mctl(&["set", "-q", "nohugepage", NO_PROCESS, &pid]).assert(1);
    assert!(ran.err.contains("no such process (ESRCH)"), "{ran:?}");
    assert!(!thp_enabled(fixture.pid()));
}

#[test]
fn senseless_words_change_nothing() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let set = |words: &[&str]| mctl(&[&["set"], words].concat());
    for words in [
        &[][..],
        &["nohugepage"],
        &[&pid],
        &["nohugepages", &pid],
        &["nohugepage", &pid, "0"],
        &["nohugepage", &pid, "-1"],
        &["nohugepage", &pid, "+1"],
        &["nohugepage", &pid, "abc"],
        &["nohugepage", &pid, "1:"],
        &["nohugepage", &pid, ":1"],
        &["nohugepage", &pid, "1:x"],
        &["nohugepage", &pid, "99999999999999999999"],
        &["nohugepage", &pid, "2147483648"],
        &["nohugepage", &pid, "1:18446744073709551616"],
        &["nohugepage", &pid, ""],
        &["nohugepage", &pid, "mergeable"],
        &["nohugepage", &pid, "-p", "-1"],
        &["nohugepage", "nohugepage", &pid],
        &["nohugepage,hugepage", &pid],
        &["nohugepage,", &pid],
        &["fade-on-death", "--inherit", &pid],
        &["nohugepage", "--cgroup", "/", &pid],
        &["nohugepage", "--bogus", &pid],
        &["hugepage", "--override-advice", "--strict", &pid],
        &["nohugepage", "--quiet", "--verbose", &pid],
        &["nohugepage", "--tree", "--atomic", &pid, "1"],
    ] {
        let ran = set(words).assert(2);
        assert!(
            ran.out.is_empty() && !ran.err.is_empty(),
            "{words:?}: {ran:?}"
        );
        assert!(thp_enabled(fixture.pid()), "{words:?}");
    }
    let mut args: Vec<OsString> = ["set", "nohugepage", &pid].map(OsString::from).into();
    args.push(OsString::from_vec(b"1\xff".to_vec()));
    mctl(&args).assert(2);
    assert!(thp_enabled(fixture.pid()));
}

#[test]
fn what_is_no_cgroup() {
    for path in ["/no/such/cgroup", "/tmp", "../.."] {
        let ran = mctl(&["set", "nohugepage", "--cgroup", path]);
        assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
        assert!(ran.err.contains(path), "{ran:?}");
    }
}

#[test]
fn a_near_miss_is_named() {
    let ran = mctl(&["set", "nohugepages", "1"]).assert(2);
    assert!(ran.err.contains("did you mean 'nohugepage'?"), "{ran:?}");
}

#[test]
fn a_recycled_number_is_not_hit() {
    let fixture = start!("pause");
    let pid = fixture.pid();
    let target = mctl::Target::open(pid.to_string().parse().unwrap()).unwrap();
    let Some(inode) = target.inode().unwrap() else {
        mctl_testkit::skip!("needs pidfs");
    };
    let ran = mctl(&["set", "nohugepage", &format!("{pid}:{}", inode ^ 1)]).assert(1);
    assert!(
        ran.err.contains("ESRCH") && ran.err.contains(&format!("{pid}:{inode}")),
        "{ran:?}"
    );
    assert!(thp_enabled(pid));
    mctl(&["set", "-q", "nohugepage", &format!("{pid}:{inode}")]).assert(0);
    assert!(!thp_enabled(pid));
}

#[test]
fn what_has_no_memory() {
    let zombie = start!("zombie");
    let ran = mctl(&["set", "nohugepage", &zombie.target().to_string()]).assert(1);
    assert!(
        ran.err.contains("zombie") && ran.err.contains("ESRCH"),
        "{ran:?}"
    );
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        let ran = mctl(&["set", "nohugepage", "--dry-run", "2"]).assert(1);
        assert!(ran.err.contains("kernel thread (ESRCH)"), "{ran:?}");
    }
}

#[test]
fn a_thread_is_not_a_process() {
    let mut fixture = start!("touch");
    let answer = fixture.ask("thread").unwrap();
    let tid = answer.strip_prefix("thread ").unwrap().to_owned();
    let ran = mctl(&["set", "nohugepage", &tid]).assert(1);
    assert!(
        ran.err
            .contains(&format!("a thread of process {}", fixture.pid())),
        "{ran:?}"
    );
}

#[test]
fn processes_that_die_meanwhile() {
    for round in 0..40 {
        let mut child = Command::new("sleep")
            .arg("100")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_micros(150 * round));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let ran = mctl(&["set", "-q", "nohugepage", &pid]);
        killer.join().unwrap();
        match ran.code {
            Some(0) => assert_eq!(ran.err, ""),
            Some(1) => assert!(ran.err.contains("ESRCH"), "{ran:?}"),
            _ => ran.assert(1).code.map_or((), drop),
        }
    }
}

#[test]
fn all_or_nothing() {
    let fixture = start!("pause");
    let zombie = start!("zombie");
    let (pid, dead) = (fixture.pid().to_string(), zombie.target().to_string());
    for other in [dead.as_str(), NO_PROCESS] {
        let ran = mctl(&["set", "--atomic", "nohugepage", &pid, other]).assert(1);
        assert!(ran.err.contains("nothing was changed"), "{ran:?}");
        assert!(thp_enabled(fixture.pid()));
    }
    mctl(&["set", "-q", "--atomic", "nohugepage", &pid]).assert(0);
    assert!(!thp_enabled(fixture.pid()));
}

#[test]
fn a_tree() {
    let tree = match spawn_tree(2, 3) {
        Ok(tree) => tree,
        Err(error) => mctl_testkit::skip!("{error}"),
    };
    let nodes: Vec<i32> = tree
        .info_all("node")
        .iter()
        .map(|n| n.parse().unwrap())
        .collect();
    assert_eq!(nodes.len(), 13);
    let root = tree.pid().to_string();
    let ran = mctl(&["set", "nohugepage", "--tree", "--dry-run", &root]).assert(0);
    assert_eq!(ran.out.matches("would call").count(), 13, "{ran:?}");
    assert!(nodes.iter().all(|pid| thp_enabled(*pid)));
    let ran = mctl(&["set", "nohugepage", "--tree", "--inherit", "--json", &root]).assert(0);
    assert_eq!(ran.json()["processes"].as_array().unwrap().len(), 13);
    assert_eq!(ran.json()["complete"], true);
    assert!(nodes.iter().all(|pid| !thp_enabled(*pid)));
    mctl(&["clear", "nohugepage", "--tree", &root]).assert(0);
    assert!(nodes.iter().all(|pid| thp_enabled(*pid)));
}

#[test]
fn fade_on_death_is_not_pretended() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    if has_native_call() {
        mctl(&["set", "--strict", "fade-on-death", &pid]).assert(0);
        let ran = mctl(&["get", "-n", "-o", "POLICY", &pid]).assert(0);
        assert_eq!(ran.out, "fade-on-death\n");
        return;
    }
    let ran = mctl(&["set", "fade-on-death", &pid]).assert(1);
    assert!(ran.err.contains("EOPNOTSUPP"), "{ran:?}");
}

#[test]
fn a_user_manages_the_users_own_processes() {
    require_root!();
    let user = AsUser::new();
    let own = start!(@ Fixture::builder("touch").as_user(NOBODY));
    let roots = start!("pause");
    let pid = own.pid().to_string();
    let ran = user.mctl(&["set", "-q", "nohugepage", &pid]);
    if ran.err.contains("Yama") {
        mctl_testkit::skip!("Yama forbids it");
    }
    ran.assert(0);
    assert!(!thp_enabled(own.pid()));
    user.mctl(&["clear", "nohugepage", &pid]).assert(0);
    assert!(thp_enabled(own.pid()));

    let ran = user
        .mctl(&["set", "nohugepage", &roots.pid().to_string()])
        .assert(1);
    assert!(
        ran.err.contains("EPERM") && ran.err.contains("belongs to user 0"),
        "{ran:?}"
    );
    // One situation, one reason, in every command.
    let theirs = roots.pid().to_string();
    for words in [
        &["clear", "nohugepage"][..],
        &["get", "--exact"],
        &["advise", "mergeable"],
        &["cold"],
        &["lock"],
        &["lock", "-n"],
        &["unlock"],
    ] {
        let ran = user.mctl(&[words, &[&theirs]].concat()).assert(1);
        assert!(
            ran.err.contains("EPERM") && ran.err.contains("belongs to user 0"),
            "{words:?}: {ran:?}"
        );
    }
    assert!(thp_enabled(roots.pid()));
    let ran = user.mctl(&["set", "--admin", "nohugepage", &pid]).assert(1);
    assert!(ran.err.contains("CAP_SYS_ADMIN"), "{ran:?}");
    assert!(thp_enabled(own.pid()));
}

#[test]
fn a_dry_run_touches_nothing() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let ran = mctl(&["set", "nohugepage", "-n", &pid]).assert(0);
    let (call, step) = if has_native_call() {
        ("would call mctl(PIDFD, MCTL_SET_NOHUGEPAGE, 0)", "call")
    } else {
        (
            "would call prctl(PR_SET_THP_DISABLE, 1, 0)",
            "set-thp-disable",
        )
    };
    assert!(ran.out.contains(call), "{ran:?}");
    let ran = mctl(&["set", "nohugepage", "-n", "--json", &pid]).assert(0);
    assert_eq!(ran.json()["processes"][0]["plan"]["steps"][0]["step"], step);
    assert!(thp_enabled(fixture.pid()));
}

#[test]
fn a_process_that_is_named_twice_is_done_once() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let ran = mctl(&["set", "-v", "nohugepage", &pid, &pid, "-p", &pid]).assert(0);
    assert_eq!(ran.out.lines().count(), 1, "{ran:?}");
}

#[test]
fn more_processes_than_the_soft_limit_on_files() {
    let script = r#"
        ulimit -Sn 64
        for i in $(seq 100); do sleep 3600 & done
        "$0" set -q nohugepage --tree $$ && "$0" get -n -o POLICY $(jobs -p) | sort | uniq -c
        "$0" clear nohugepage $(jobs -p) && "$0" get -n --exact -o POLICY $(jobs -p) | sort | uniq -c
        kill $(jobs -p)"#;
    let ran = common::ran(Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_mctl")]));
    let lines: Vec<String> = ran
        .out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let first = if common::merging_shows() {
        "100 nohugepage"
    } else {
        "100 nohugepage,mergeable?"
    };
    assert_eq!(lines, [first, "100 inherit"], "{ran:?}");
}

#[test]
fn no_harmless_moment() {
    if has_native_call() {
        mctl_testkit::skip!("needs a kernel without mctl(): nobody is stopped there");
    }
    let fixture = start!("blocked", "kind=write-stream");
    fixture.wait_blocked(Duration::from_secs(60)).unwrap();
    let pid = fixture.pid().to_string();
    let ran = mctl(&["set", "nohugepage", "--wait", "5ms", &pid]).assert(1);
    for word in [
        "no harmless moment",
        "write(2)",
        "EBUSY",
        "hint: ",
        "--wait",
        "--disturb",
    ] {
        assert!(ran.err.contains(word), "{word}: {ran:?}");
    }
    assert!(thp_enabled(fixture.pid()));
    let words = ["set", "nohugepage", "--wait", "5ms", "--disturb", &pid];
    let ran = mctl(&words).assert(0);
    assert!(ran.err.contains("interrupted in write(2)"), "{ran:?}");
    assert!(!thp_enabled(fixture.pid()));
}
