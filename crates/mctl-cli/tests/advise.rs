//! `mctl advise` on real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::memory::{flags, kib, mapped, populated, range};
use common::{AsUser, NO_PROCESS, mctl};
use mctl_testkit::{require_root, spawn_tree, start};

#[test]
fn a_range_and_nothing_else() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (one, len) = mapped(&mut fixture, "map 4194304");
    let (other, _) = mapped(&mut fixture, "shared 4194304");
    for advice in ["dontdump", "MADV_DONTDUMP", "16"] {
        let ran = mctl(&["advise", advice, &pid, "--range", &range(&one, &len)]).assert(0);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""), "{advice}");
        assert!(flags(&mut fixture, &one).contains(" dd"), "{advice}");
        mctl(&["advise", "dodump", &pid, "--range", &range(&one, &len)]).assert(0);
        assert!(!flags(&mut fixture, &one).contains(" dd"), "{advice}");
    }
    assert!(!flags(&mut fixture, &other).contains(" dd"));
}

#[test]
fn kinds_names_and_everything() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (private, len) = mapped(&mut fixture, "map 2097152");
    let (shared, _) = mapped(&mut fixture, "memfd 2097152");
    let (file, _) = mapped(&mut fixture, "file 2097152 a.data");
    let is = |fixture: &mut _, start: &str| flags(fixture, start).contains(" dd");
    for (choice, wanted) in [
        (&["--anon"][..], [true, false, false]),
        (&["--shmem"], [false, true, false]),
        (&["--file"], [false, false, true]),
        (&["--anon", "--file"], [true, false, true]),
        (&["--maps", "*/a.data"], [false, false, true]),
        (&["--maps", "/memfd:*", "--anon"], [false, false, false]),
        (&["--anon", "--range", &range(&shared, &len)], [false; 3]),
        (&["--heap"], [false; 3]),
        (&["--stack"], [false; 3]),
        (&[], [true, true, true]),
    ] {
        // Nothing of a choice may fail, but an entire address space has special mappings.
        let all = [&["advise", "dontdump", "--skip-errors", &pid], choice].concat();
        mctl(&all).assert(0);
        let got = [&private, &shared, &file].map(|start| is(&mut fixture, start));
        assert_eq!(got, wanted, "{choice:?}");
        mctl(&["advise", "-q", "dodump", "--skip-errors", &pid]).assert(0);
        assert!(!is(&mut fixture, &private), "undone");
    }
    let ran = mctl(&["advise", "dontdump", &pid, "--maps", "/no/such"]).assert(0);
    assert!(ran.err.contains("no such mapping"), "{ran:?}");
}

#[test]
fn what_destroys_is_refused_before_anything() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = populated(&mut fixture, "map 2097152");
    let whole = range(&start, &len);
    for advice in [
        "dontneed",
        "free",
        "remove",
        "wipeonfork",
        "4",
        "MADV_GUARD_INSTALL",
    ] {
        let ran = mctl(&["advise", advice, &pid, "--range", &whole]).assert(1);
        assert!(ran.err.contains("(EPERM)"), "{ran:?}");
        assert!(ran.err.contains("hint: --destructive"), "{ran:?}");
    }
    // Also where the process does not exist: nothing was looked up.
    let ran = mctl(&["advise", "dontneed", NO_PROCESS]).assert(1);
    assert!(ran.err.contains("(EPERM)"), "{ran:?}");
    assert_eq!(fixture.ask(&format!("check {start} {len}")).unwrap(), "ok");
    mctl(&[
        "advise",
        "dontneed",
        "--destructive",
        &pid,
        "--range",
        &whole,
    ])
    .assert(0);
    assert_eq!(fixture.ask(&format!("zero {start} {len}")).unwrap(), "ok");
}

#[test]
fn an_error_stops_it_or_is_passed_over() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = populated(&mut fixture, "map 2097152");
    assert_eq!(fixture.ask(&format!("lock {start} {len}")).unwrap(), "ok");
    let whole = range(&start, &len);
    let ran = mctl(&["advise", "cold", &pid, "--range", &whole]).assert(1);
    assert!(
        ran.err.contains("locked") && ran.err.contains("(EINVAL)"),
        "{ran:?}"
    );
    assert!(ran.err.contains("hint: --skip-errors"), "{ran:?}");
    let skip = ["advise", "cold", "--skip-errors", &pid];
    let ran = mctl(&[&skip[..], &["--range", &whole]].concat()).assert(1);
    assert!(ran.err.contains("nothing was advised"), "{ran:?}");
    let ran = mctl(&skip).assert(0);
    assert!(ran.err.contains("passed over"), "{ran:?}");
    assert_eq!(mctl(&[&skip[..], &["-q"]].concat()).assert(0).err, "");
    let ran = mctl(&[&skip[..], &["-v"]].concat()).assert(0);
    let at = start.trim_start_matches("0x");
    assert!(ran.out.contains(at), "the mapping is named: {ran:?}");
    // A gap.
    let ran = mctl(&["advise", "cold", &pid, "--range", "1000-2000"]).assert(1);
    assert!(ran.err.contains("(ENOMEM)"), "{ran:?}");
}

#[test]
fn words_that_make_no_sense() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let pid = pid.as_str();
    for (args, says) in [
        (&["pagout", pid][..], "did you mean 'pageout'"),
        (&["MADV_PAGEOUTS", pid], "did you mean 'pageout'"),
        (&["elephant", pid], "no advice"),
        (&["-1", pid], "no advice"),
        (&["", pid], "no advice"),
        (&["77", pid], "does not know advice 77"),
        (&["77", "--destructive", pid], "does not know advice 77"),
        (&["cold"], "no process was named"),
        (&["cold", "12x"], "'12x' is not a process"),
        (&["cold", "-5"], "'-5' is not a process"),
        (&["cold", pid, "--cgroup", "/"], "not both at once"),
        (&["cold", pid, "--pace", "20"], "a whole number and a unit"),
        (
            &["cold", pid, "--pace", "1.5s"],
            "a whole number and a unit",
        ),
        (&["cold", pid, "--pace", "-1s"], "a whole number and a unit"),
        (&["cold", pid, "--pace", "61s"], "longer than 60s"),
        (&["cold", pid, "--max-stall", "0ms"], "longer than nothing"),
        (&["cold", pid, "--range", "3000-1000"], "before its start"),
        (&["cold", pid, "--range", "1000-1000"], "it is empty"),
        (&["cold", pid, "--range", "1000+0"], "it is empty"),
        (
            &["cold", pid, "--range", "1001-3000"],
            "multiple of the page size",
        ),
        (
            &["cold", pid, "--range", "fffffffffffff000+2M"],
            "beyond the end",
        ),
        (
            &["cold", pid, "--range", "1000-zz"],
            "no hexadecimal address",
        ),
        (&["cold", pid, "--range", "5"], "START-END or START+LENGTH"),
        (&["cold", pid, "--maps", "["], "is not closed"),
        (&["cold", pid, "-q", "-v"], "cannot be used with"),
        (
            &["cold", pid, "--tree", "--cgroup", "/x"],
            "cannot be used with",
        ),
    ] {
        let ran = mctl(&[&["advise"], args].concat()).assert(2);
        let err = ran.err.replace('\n', " ");
        assert!(err.contains(says), "{args:?}: {ran:?}");
        assert_eq!(ran.out, "", "{args:?}");
    }
    let ran = mctl(&["advise", "cold", NO_PROCESS]).assert(1);
    assert!(ran.err.contains("(ESRCH)"), "{ran:?}");
    let ran = mctl(&["advise", "cold", &format!("{pid}:1")]).assert(1);
    assert!(
        ran.err.contains("(ESRCH)") || ran.err.contains("(EOPNOTSUPP)"),
        "{ran:?}"
    );
    mctl(&["advise", "cold", "--cgroup", "/no/such/group"]).assert(1);
    // Kernel threads have no memory.
    mctl(&["advise", "cold", "2"]).assert(1);
}

#[test]
fn a_dry_run_touches_nothing() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = mapped(&mut fixture, "map 2097152");
    let whole = range(&start, &len);
    let dry = ["advise", "-n", "dontdump", &pid, "--range", &whole];
    let ran = mctl(&dry).assert(0);
    assert!(
        ran.out
            .contains("would give dontdump to 2 MiB in 1 mapping"),
        "{ran:?}"
    );
    let json = mctl(&[&dry[..], &["--json"]].concat()).assert(0).json();
    assert_eq!(json["processes"][0]["plan"]["bytes"], 2 << 20);
    assert!(!flags(&mut fixture, &start).contains(" dd"));
}

#[test]
fn json_has_every_process() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = populated(&mut fixture, "map 2097152");
    let whole = range(&start, &len);
    let args = [
        "advise", "--json", "cold", "--range", &whole, &pid, NO_PROCESS,
    ];
    let json = mctl(&args).assert(1).json();
    assert_eq!(json["advice"], "cold");
    let list = json["processes"].as_array().unwrap();
    let row = |pid: &str| {
        list.iter()
            .find(|row| row["pid"].as_i64() == pid.parse().ok())
            .unwrap()
    };
    let advised = &row(&pid)["advised"];
    assert_eq!(advised["advised"], 2 << 20);
    // Without CAP_SYS_NICE the kernel takes no advice for others: they give it themselves.
    let way = if mctl_testkit::is_root() {
        "remote"
    } else {
        "carrier"
    };
    assert_eq!(
        (&advised["way"], &advised["complete"]),
        (&way.into(), &true.into())
    );
    assert!(row(&pid)["name"].as_str().unwrap().starts_with("touch"));
    assert_eq!(row(NO_PROCESS)["error"]["errno"], "ESRCH");
    assert_eq!(kib(&mut fixture, &start, "Rss"), 2048);
}

#[test]
fn a_tree_and_each_process_once() {
    let tree = spawn_tree(2, 2).unwrap();
    let root = tree.pid().to_string();
    let json = mctl(&[
        "advise", "--json", "dontdump", "--heap", "--stack", "--tree", &root, &root,
    ]);
    let json = json.assert(0).json();
    let mut got: Vec<String> = json["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["pid"].to_string())
        .collect();
    let mut wanted: Vec<&str> = tree.info_all("node");
    got.sort();
    wanted.sort_unstable();
    assert_eq!(got, wanted);
}

#[test]
fn others_may_not() {
    require_root!();
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    for advice in ["cold", "dontdump"] {
        let ran = AsUser::new().mctl(&["advise", advice, &pid]).assert(1);
        assert!(
            ran.err.contains("(EPERM)") || ran.err.contains("(EACCES)"),
            "{ran:?}"
        );
    }
}

/// What has no pages that reclaim could take is passed over, and the reason is named.
#[test]
fn hugetlb_and_special_mappings_are_passed_over() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = mapped(&mut fixture, "hugetlb 4194304");
    let range = range(&start, &len);
    for advice in ["cold", "pageout", "collapse"] {
        let one = mctl(&["advise", advice, "--range", &range, &pid]).assert(1);
        assert!(one.err.contains("EINVAL"), "{one:?}");
        assert!(
            one.err.contains(start.trim_start_matches("0x")),
            "where: {one:?}"
        );
    }
    let all = mctl(&["advise", "cold", "--skip-errors", "--json", &pid]).assert(0);
    let json = all.json();
    let skipped = json["processes"][0]["advised"]["skipped"]
        .as_array()
        .unwrap();
    // Of everything they are no part: as a gap is, not as an error (docs/CONTRACT.md#pmadv-entire-apart).
    assert!(
        skipped.iter().all(|skip| skip["start"] != start),
        "{skipped:?}"
    );
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let vvar = maps.lines().find(|line| line.ends_with("[vvar]")).unwrap();
    let vvar = format!("0x{}", vvar.split('-').next().unwrap());
    assert!(
        skipped.iter().all(|skip| skip["start"] != vvar),
        "{skipped:?}"
    );
}

/// A mapping of a file, for which most kernels make no huge pages: the collapse goes on behind it.
#[test]
fn collapse_passes_over_files() {
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (file, file_len) = mapped(&mut fixture, "file 4194304 b.data");
    let (start, len) = common::memory::populated(&mut fixture, "map 8388608");
    let ran = mctl(&["advise", "collapse", "--skip-errors", "--json", &pid]).assert(0);
    assert_eq!(
        common::memory::kib(&mut fixture, &start, "AnonHugePages"),
        8192
    );
    let json = ran.json();
    let skipped = json["processes"][0]["advised"]["skipped"]
        .as_array()
        .unwrap();
    let passed = skipped.iter().any(|skip| skip["start"] == file);
    // Linux 7.x takes files of file systems that have large folios.
    let asked = fixture
        .ask(&format!("advise {file} {file_len} 25"))
        .unwrap();
    assert_eq!(passed, asked != "ok", "{asked}: {skipped:?}");
    assert_eq!(fixture.ask(&format!("check {start} {len}")).unwrap(), "ok");
}
