//! "Is it working?", on real processes: a huge page appears, and where it does not, the reason
//! that is given is the one that was arranged.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use mctl::coverage::{Bytes, Coverage, Vma};
use mctl::why::{Reason, Report, Setting, Why};
use mctl::{
    AcrossExec, Errno, HostCaps, KnobValue, Known, Look, PolicyKind, Request, Target, Thp, ThpHost,
    apply, read_policy,
};
use mctl_abi::thp::{Advice, Host};
use mctl_testkit::{Fixture, start};

const MIB: u64 = 1 << 20;
const HUGEPAGE: i32 = 14;
const NOHUGEPAGE: i32 = 15;

fn target(fixture: &Fixture) -> Target {
    Target::open(fixture.target().to_string().parse().unwrap()).unwrap()
}

/// Asks for memory; the answer is its address.
fn map(fixture: &mut Fixture, command: &str) -> u64 {
    let answer = fixture.ask(command).unwrap();
    let place = answer
        .strip_prefix("map 0x")
        .and_then(|place| place.split(' ').next());
    u64::from_str_radix(place.unwrap_or_else(|| panic!("{command}: {answer}")), 16).unwrap()
}

fn ok(fixture: &mut Fixture, command: &str) {
    assert_eq!(fixture.ask(command).unwrap(), "ok", "{command}");
}

fn touch(fixture: &mut Fixture, start: u64, len: u64) {
    ok(fixture, &format!("touch {start:#x} {len}"));
}

fn advise(fixture: &mut Fixture, start: u64, len: u64, advice: i32) {
    ok(fixture, &format!("advise {start:#x} {len} {advice}"));
}

fn setting(target: &Target) -> Setting {
    let policy = read_policy(target, Look::Exact).unwrap().thp();
    Setting::new(ThpHost::read().unwrap().as_ref(), policy)
}

fn report(target: &Target) -> Report {
    let report = setting(target).report(target).unwrap();
    assert_eq!(report.why.anon.total(), report.coverage.anon_small());
    assert_eq!(report.why.shmem.total(), report.coverage.shmem_small());
    report
}

/// What is said of the mapping at an address: the part of the visitor that tests look at.
#[derive(Debug)]
struct Seen {
    coverage: Coverage,
    advice: Advice,
    why: Why,
    flags: String,
}

impl Seen {
    fn reason(&self) -> Reason {
        self.why.dominant().expect("a reason").reason
    }
}

fn at(target: &Target, address: u64) -> Seen {
    let setting = setting(target);
    let mut seen = None;
    Coverage::by_vma(target, |vma: &Vma<'_>| {
        if (vma.start..vma.end).contains(&address) {
            seen = Some(Seen {
                coverage: vma.coverage,
                advice: vma.advice,
                why: setting.explain(vma),
                flags: vma.printable_flags(),
            });
        }
        Ok::<(), mctl::Error>(())
    })
    .unwrap();
    seen.expect("the mapping is listed")
}

fn set(target: &Target, kind: PolicyKind) {
    let request = Request::set(&[kind], AcrossExec::Inherit).unwrap();
    let caps = HostCaps::probe_for(&request.kinds()).unwrap();
    apply(&request, target, &caps).unwrap();
}

/// Skips where the host gives no huge pages at all: nothing could be told apart there.
macro_rules! host {
    () => {
        match ThpHost::read().unwrap() {
            Some(host) if host.pmd() != Host::Never && host.pmd_kb == 2048 => host,
            _ => mctl_testkit::skip!("transparent huge pages are off"),
        }
    };
}

/// Eight MiB at an address, advised and touched, of which a huge page is seen first: without it
/// every "no huge page" would prove nothing.
macro_rules! control {
    ($fixture:ident) => {{
        let base = map(&mut $fixture, "map 8388608");
        advise(&mut $fixture, base, 8 * MIB, HUGEPAGE);
        touch(&mut $fixture, base, 8 * MIB);
        let seen = at(&target(&$fixture), base);
        assert_eq!(seen.coverage.anon_huge, Bytes(8 * MIB), "the control");
        base
    }};
}

#[test]
fn a_huge_page_is_seen_and_counted() {
    host!();
    let mut fixture = start!("touch");
    let base = control!(fixture);
    let target = target(&fixture);
    let seen = at(&target, base);
    assert_eq!(seen.advice, Advice::Hugepage);
    assert!(seen.flags.contains("hg"), "{}", seen.flags);
    assert_eq!(seen.coverage.percent(), Some(100.0));
    assert_eq!(
        (seen.why.anon.total(), seen.why.dominant()),
        (Bytes::ZERO, None)
    );
    let total = Coverage::total(&target).unwrap();
    let report = report(&target);
    assert_eq!(total.anon_huge, report.coverage.anon_huge);
    assert_eq!(total.anonymous, report.coverage.anonymous);
    assert!(total.percent() > Some(90.0), "{total:?}");
    assert_eq!(report.summary(), "-", "{report:?}");
}

#[test]
fn not_advised_on_a_host_that_says_madvise() {
    if host!().pmd() != Host::Madvise {
        mctl_testkit::skip!("the host does not say madvise");
    }
    let mut fixture = start!("touch");
    control!(fixture);
    let base = map(&mut fixture, "map 33554432");
    touch(&mut fixture, base, 32 * MIB);
    let target = target(&fixture);
    let seen = at(&target, base);
    assert_eq!(seen.reason(), Reason::HostMadvise);
    assert_eq!(seen.why.anon.of(Reason::HostMadvise), Bytes(32 * MIB));
    let report = report(&target);
    assert_eq!(report.summary(), "host: madvise, not advised");
    assert_eq!(report.knob.map(|knob| knob.value), Some(KnobValue::Madvise));
    assert!(
        report.why.anon.list().len() > 1,
        "the heap is too small for one"
    );
}

#[test]
fn policy_never_is_named() {
    host!();
    let mut fixture = start!("touch");
    control!(fixture);
    let target = target(&fixture);
    set(&target, PolicyKind::Nohugepage);
    let base = map(&mut fixture, "map 33554432");
    advise(&mut fixture, base, 32 * MIB, HUGEPAGE);
    touch(&mut fixture, base, 32 * MIB);
    let seen = at(&target, base);
    assert_eq!(
        (seen.coverage.anon_huge, seen.reason()),
        (Bytes::ZERO, Reason::PolicyNever)
    );
    let report = report(&target);
    assert_eq!(report.summary(), "policy: never");
    // What was huge stays huge.
    assert_eq!(report.coverage.anon_huge, Bytes(8 * MIB));
}

#[test]
fn policy_advised_is_named() {
    host!();
    let caps = HostCaps::probe().unwrap();
    if !caps.except_advised.is_yes() {
        mctl_testkit::skip!("needs PR_THP_DISABLE_EXCEPT_ADVISED");
    }
    let mut fixture = start!("touch");
    let target = target(&fixture);
    set(&target, PolicyKind::HugepageAdvised);
    assert_eq!(
        read_policy(&target, Look::Exact).unwrap().thp(),
        Known::Is(Thp::Advised)
    );
    control!(fixture);
    let base = map(&mut fixture, "map 8388608");
    touch(&mut fixture, base, 8 * MIB);
    assert_eq!(at(&target, base).reason(), Reason::PolicyAdvised);
}

#[test]
fn the_programs_own_advice_is_named() {
    host!();
    let mut fixture = start!("touch");
    control!(fixture);
    let base = map(&mut fixture, "map 8388608");
    advise(&mut fixture, base, 8 * MIB, NOHUGEPAGE);
    touch(&mut fixture, base, 8 * MIB);
    let seen = at(&target(&fixture), base);
    assert_eq!(seen.advice, Advice::Nohugepage);
    assert_eq!(seen.reason(), Reason::AdviceNohugepage);
    assert!(seen.flags.contains("nh"));
}

#[test]
fn thread_stacks_are_advised_against_by_the_kernel() {
    let mut fixture = start!("touch");
    assert!(fixture.ask("thread").unwrap().starts_with("thread "));
    let mut stacks = 0;
    Coverage::by_vma(&target(&fixture), |vma| {
        stacks += u32::from(vma.advice == Advice::Nohugepage && vma.perms_text() == "rw-p");
        Ok::<(), mctl::Error>(())
    })
    .unwrap();
    if stacks == 0 {
        mctl_testkit::skip!("thread stacks are not NOHUGEPAGE (Linux 6.7)");
    }
    assert_eq!(stacks, 1);
}

#[test]
fn too_small_is_too_small_under_every_advice() {
    host!();
    let mut fixture = start!("touch");
    control!(fixture);
    // 1 MiB, and 2 MiB that begin in the middle of a huge page. A hole on both sides of each: with
    // the same advice it would otherwise become one mapping with a neighbour.
    for (hole, len) in [(MIB / 2, MIB), (MIB, 2 * MIB)] {
        let before = map(&mut fixture, &format!("map {}", hole + len + hole));
        let (start, behind) = (before + hole, before + hole + len);
        ok(&mut fixture, &format!("unmap {before:#x} {hole}"));
        ok(&mut fixture, &format!("unmap {behind:#x} {hole}"));
        advise(&mut fixture, start, len, HUGEPAGE);
        touch(&mut fixture, start, len);
        let seen = at(&target(&fixture), start);
        assert_eq!(seen.coverage.size, Bytes(len), "a mapping of its own");
        assert_eq!(seen.reason(), Reason::TooSmall);
    }
}

#[test]
fn edges_are_told_from_the_inside() {
    host!();
    let mut fixture = start!("touch");
    let base = map(&mut fixture, "map 8388608");
    ok(&mut fixture, &format!("unmap {base:#x} 1048576"));
    advise(&mut fixture, base + MIB, 7 * MIB, HUGEPAGE);
    touch(&mut fixture, base + MIB, 7 * MIB);
    let seen = at(&target(&fixture), base + MIB);
    assert_eq!(seen.coverage.anon_huge, Bytes(6 * MIB));
    assert_eq!(seen.why.anon.of(Reason::Edges), Bytes(MIB));
    assert_eq!(seen.why.anon.total(), Bytes(MIB));
}

#[test]
fn eligible_but_populated_before() {
    host!();
    let mut fixture = start!("touch");
    control!(fixture);
    let base = map(&mut fixture, "map 8388608");
    advise(&mut fixture, base, 8 * MIB, NOHUGEPAGE);
    touch(&mut fixture, base, 8 * MIB);
    advise(&mut fixture, base, 8 * MIB, HUGEPAGE);
    let seen = at(&target(&fixture), base);
    // khugepaged may have been here; all that it left is not collapsed yet.
    assert_eq!(
        seen.why.anon.of(Reason::NotCollapsed),
        seen.coverage.anon_small()
    );
    if !seen.coverage.anon_small().is_zero() {
        assert_eq!(seen.reason(), Reason::NotCollapsed);
    }
}

#[test]
fn copies_of_file_pages() {
    let mut fixture = start!("touch");
    let base = map(&mut fixture, "file 4194304");
    touch(&mut fixture, base, 4 * MIB);
    let seen = at(&target(&fixture), base);
    assert_eq!(seen.coverage.anonymous, Bytes(4 * MIB));
    assert_eq!(seen.reason(), Reason::PrivateCopies);
}

#[test]
fn shared_memory_has_a_column_of_its_own() {
    host!();
    let mut fixture = start!("touch");
    for command in ["memfd 4194304", "shared 4194304"] {
        let base = map(&mut fixture, command);
        touch(&mut fixture, base, 4 * MIB);
        let seen = at(&target(&fixture), base);
        assert_eq!(seen.coverage.anonymous, Bytes::ZERO);
        assert_eq!(seen.coverage.shmem, Bytes(4 * MIB));
        if seen.coverage.shmem_huge.is_zero() {
            assert_eq!(seen.reason(), Reason::HostShmem, "{command}");
        }
    }
    let target = target(&fixture);
    let total = Coverage::total(&target).unwrap();
    assert_eq!(total.shmem, Bytes(8 * MIB));
    assert_eq!(report(&target).coverage.shmem, Bytes(8 * MIB));
}

#[test]
fn what_was_never_written_is_no_reason() {
    let fixture = start!("vmas", "n=1", "size=1099511627776", "touch=1");
    let base = fixture.info("base").and_then(|base| base.split(' ').next());
    let base = u64::from_str_radix(base.unwrap().trim_start_matches("0x"), 16).unwrap();
    let seen = at(&target(&fixture), base);
    assert!(seen.coverage.size >= Bytes(1 << 40));
    assert!(!seen.why.anon.total().is_zero());
    let there = seen.coverage.anonymous;
    assert!(there <= Bytes(2 * MIB), "{there}");
    assert_eq!(seen.why.unpopulated, seen.coverage.size.less(there));
}

#[test]
fn a_process_whose_first_thread_has_exited() {
    let fixture = start!("leader_exit");
    let target = target(&fixture);
    let total = Coverage::total(&target).unwrap();
    assert!(total.rss > Bytes::ZERO && total.size > total.rss);
    let sum = report(&target).coverage;
    assert_eq!(
        (sum.anonymous, sum.anon_huge),
        (total.anonymous, total.anon_huge)
    );
    let facts = mctl::ProcessFacts::read(&target).unwrap();
    assert_eq!(facts.state, 'Z');
    assert!(facts.rss > Some(Bytes::ZERO), "{facts:?}");
}

#[test]
fn who_has_no_memory() {
    let fixture = start!("zombie");
    let zombie = target(&fixture);
    assert_eq!(Coverage::total(&zombie).unwrap_err().errno(), Errno::ESRCH);
    let held = start!("pause");
    let dead = target(&held);
    drop(held);
    assert_eq!(Coverage::total(&dead).unwrap_err().errno(), Errno::ESRCH);
    assert_eq!(
        mctl::ProcessFacts::read(&dead).unwrap_err().errno(),
        Errno::ESRCH
    );
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        let thread = Target::open("2".parse().unwrap()).unwrap();
        let error = Coverage::total(&thread).unwrap_err();
        assert_eq!(error.errno(), Errno::ESRCH, "{error}");
        let error = Coverage::by_vma(&thread, |_| Ok::<(), mctl::Error>(())).unwrap_err();
        assert_eq!(error.errno(), Errno::ESRCH, "{error}");
        let facts = mctl::ProcessFacts::read(&thread).unwrap();
        assert!(facts.kernel_thread && facts.rss.is_none() && facts.name == "kthreadd");
    }
}

#[test]
fn an_error_of_the_visitor_ends_the_walk() {
    let fixture = start!("pause");
    let mut visits = 0;
    let error = Coverage::by_vma(&target(&fixture), |_| {
        visits += 1;
        Err(mctl::Error::Invalid {
            why: "enough".to_owned(),
        })
    })
    .unwrap_err();
    assert_eq!((visits, error.errno()), (1, Errno::EINVAL));
}
