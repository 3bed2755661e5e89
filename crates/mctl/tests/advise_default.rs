//! SET_FORK_EXEC_DEFAULT, and who may do what.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use mctl::advise::{Advice, Advise, P_PID, P_PIDFD, PmadvFlags, Range, process_madvise};
use mctl::{Errno, Guarantee, HostCaps, Target};
use mctl_abi::thp::Host;
use mctl_sys::program::copy_program;
use mctl_testkit::{Builder, Fixture, has_native_call, require_root, start};

const DEFAULT: u32 = 4;
const ENTIRE: u32 = 8;
const TRIO: u32 = 7 << 4;
const LEN: u64 = 4 << 20;

fn target(f: &Fixture) -> Target {
    Target::open(f.pid().to_string().parse().unwrap()).unwrap()
}

fn map(f: &mut Fixture) -> Range {
    let answer = f.ask(&format!("map {LEN}")).unwrap();
    let word = answer.split(' ').nth(1).unwrap();
    let start = u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
    Range { start, len: LEN }
}

fn flags_at(f: &mut Fixture, at: Range) -> String {
    f.ask(&format!("smaps {:#x} VmFlags", at.start)).unwrap()
}

#[test]
fn nohugepage_becomes_the_default_over_fork_and_exec() {
    require_root!();
    for flags in [DEFAULT, TRIO, TRIO | DEFAULT] {
        let mut f = start!("touch");
        let at = map(&mut f);
        let other = map(&mut f);
        let got = process_madvise(P_PID, f.pid(), Some(&[at]), Advice::NOHUGEPAGE, flags);
        assert_eq!(got.map_err(|e| e.errno()), Ok(LEN), "{flags:#x}");
        assert!(flags_at(&mut f, at).contains(" nh"));
        assert!(
            !flags_at(&mut f, other).contains(" nh"),
            "only the range is advised"
        );
        assert_eq!(f.ask("never").unwrap(), "never 1");
        assert!(f.ask("fork").unwrap().starts_with("fork "));
        assert_eq!(f.ask("never").unwrap(), "never 1", "the child");
        f.send("exec").unwrap();
        f.wait_ready().unwrap();
        assert_eq!(
            f.ask("never").unwrap(),
            "never 1",
            "the child's next program"
        );
    }
    // The entire address space, and nothing at all, go with it too.
    let mut f = start!("touch");
    let at = map(&mut f);
    let got = process_madvise(P_PID, f.pid(), None, Advice::NOHUGEPAGE, DEFAULT | ENTIRE);
    assert!(got.is_ok(), "{got:?}");
    assert!(flags_at(&mut f, at).contains(" nh"));
    assert_eq!(f.ask("never").unwrap(), "never 1");
}

#[test]
fn the_outcome_says_that_it_reaches_further_than_the_range() {
    require_root!();
    let mut f = start!("touch");
    let at = map(&mut f);
    let flags = PmadvFlags::SET_FORK_EXEC_DEFAULT;
    let advise = Advise::new(Advice::NOHUGEPAGE)
        .flags(flags)
        .ranges(vec![at]);
    let advised = advise.give(&target(&f)).unwrap();
    let default = advised.default.as_ref().unwrap();
    assert_eq!(default.guarantees.now, Guarantee::Exceeds);
    assert_eq!(default.guarantees.exec, Guarantee::Enforced);
    let advise = Advise::new(Advice::NOHUGEPAGE)
        .flags(flags)
        .entire_address_space();
    let default = advise.give(&target(&f)).unwrap().default.unwrap();
    assert_eq!(default.guarantees.now, Guarantee::Enforced);
}

#[test]
fn a_call_that_fails_sets_no_default() {
    require_root!();
    let mut f = start!("touch");
    let at = map(&mut f);
    let gap = Range {
        start: 4096,
        len: 4096,
    };
    let odd = Range {
        start: at.start + 1,
        len: 4096,
    };
    for (entry, wanted) in [(gap, Errno::ENOMEM), (odd, Errno::EINVAL)] {
        let got = process_madvise(P_PID, f.pid(), Some(&[entry]), Advice::NOHUGEPAGE, DEFAULT);
        assert_eq!(got.map_err(|e| e.errno()), Err(wanted));
        assert_eq!(f.ask("never").unwrap(), "never 0");
    }
    // Other advice cannot be a default.
    for advice in [
        Advice::COLD,
        Advice::MERGEABLE,
        Advice::COLLAPSE,
        Advice::DONTNEED,
    ] {
        for flags in [DEFAULT, TRIO] {
            let got = process_madvise(P_PID, f.pid(), Some(&[at]), advice, flags);
            assert_eq!(got.map_err(|e| e.errno()), Err(Errno::EINVAL), "{advice}");
        }
    }
    assert_eq!(f.ask("never").unwrap(), "never 0");
}

#[test]
fn hugepage_as_a_default_needs_a_host_that_can() {
    require_root!();
    let mut f = start!("touch");
    let at = map(&mut f);
    let host = HostCaps::probe().unwrap().thp.map(|host| host.pmd());
    let got = process_madvise(P_PID, f.pid(), Some(&[at]), Advice::HUGEPAGE, DEFAULT);
    let got = got.map_err(|e| e.errno());
    let advised = flags_at(&mut f, at).contains(" hg");
    if has_native_call() {
        // The policy is set there whatever the host says; its word comes to bear later.
        assert_eq!((got, advised), (Ok(LEN), true), "{host:?}");
        let reading = mctl::read_policy(&target(&f), mctl::Look::Proc).unwrap();
        // HUGEPAGE, and that it survives exec.
        assert_eq!(reading.policy().unwrap().mask(), 0x101);
        return;
    }
    match host {
        // No way that survives exec. Nothing is changed, the range is not advised either.
        Some(Host::Madvise | Host::Never) | None => {
            assert_eq!((got, advised), (Err(Errno::EOPNOTSUPP), false), "{host:?}");
        }
        // The host's own word carries it, while it holds: not exact, so not for the strict.
        Some(_) => assert_eq!((got, advised), (Err(Errno::EOPNOTSUPP), false), "{host:?}"),
    }
    assert_eq!(f.ask("never").unwrap(), "never 0");
}

/// What this test prints when it runs as somebody else, started by [`without_privileges`].
#[test]
#[ignore = "run by another test, as another user"]
fn as_somebody_else() {
    let Ok(pids) = std::env::var("MCTL_TEST_PIDS") else {
        return;
    };
    let pids: Vec<i32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    let call = |pid: i32, advice: Advice, flags: u32| {
        let got = if pid == 0 {
            process_madvise(P_PIDFD, -10_000, Some(&[]), advice, flags)
        } else {
            process_madvise(P_PID, pid, Some(&[]), advice, flags)
        };
        match got {
            Ok(_) => "ok".to_owned(),
            Err(error) => {
                eprintln!("{pid} {advice}: {error}");
                error.errno().to_string()
            }
        }
    };
    for pid in pids {
        for (advice, flags) in ASKED {
            println!("answer {}", call(pid, advice, flags));
        }
    }
}

/// What is asked of every target.
const ASKED: [(Advice, u32); 5] = [
    (Advice::COLD, 0),
    (Advice::DODUMP, 0),
    (Advice::NOHUGEPAGE, DEFAULT),
    (Advice::COLD, DEFAULT),
    (Advice::DONTNEED, 0),
];

fn errno_word(errno: Errno) -> String {
    errno.to_string()
}

#[test]
fn without_privileges() {
    require_root!();
    const USER: u32 = 65_534;
    let roots = start!("touch");
    let builder: Builder = Fixture::builder("touch").as_user(USER);
    let same = start!(@ builder);
    let dir = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let exe = dir.path().join("test");
    copy_program(&std::env::current_exe().unwrap(), &exe, 0o755).unwrap();
    let output = Command::new(&exe)
        .args(["--exact", "as_somebody_else", "--ignored", "--nocapture"])
        .env(
            "MCTL_TEST_PIDS",
            format!("{} {} 0", roots.pid(), same.pid()),
        )
        .current_dir(dir.path())
        .uid(USER)
        .gid(USER)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let answers: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split("answer ").nth(1))
        .collect();
    assert_eq!(answers.len(), 3 * ASKED.len(), "{output:?}");
    let eperm = errno_word(Errno::EPERM);
    let einval = errno_word(Errno::EINVAL);
    let ok = "ok".to_owned();
    let wanted = [
        // Root's: the kernel says EACCES, the contract EPERM.
        &eperm, &eperm, &eperm, &einval, &eperm,
        // The same user's: without CAP_SYS_NICE it gives COLD to itself.
        &ok, &ok, &eperm, &einval, &eperm,
        // The caller itself: no capability but for the default.
        &ok, &ok, &eperm, &einval, &eperm,
    ];
    let yama = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    if yama.trim().parse().unwrap_or(0) > 0 {
        mctl_testkit::skip!("Yama forbids attaching to processes of the same user");
    }
    assert_eq!(answers, wanted.map(String::as_str), "{output:?}");
}
