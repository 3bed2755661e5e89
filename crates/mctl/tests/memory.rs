//! What the policies do to memory: huge pages appear and stay away, as seen by the program itself.
//!
//! Every "no huge page" is asserted only after a huge page was seen under the same conditions.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic")]

use mctl::{AcrossExec, HostCaps, Outcome, Override, PolicyKind, Request, Support, Target, apply};
use mctl_abi::thp::Host;
use mctl_testkit::{Fixture, has_native_call, start};

const HUGEPAGE: i32 = 14;
const NOHUGEPAGE: i32 = 15;
/// 8 MiB: four huge pages.
const LEN: u64 = 8 << 20;

/// A memory of the fixture: "ADDR LEN".
fn map(f: &mut Fixture, kind: &str) -> String {
    let answer = f.ask(&format!("{kind} {LEN}")).unwrap();
    answer
        .strip_prefix("map ")
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

fn ok(f: &mut Fixture, command: &str) {
    assert_eq!(f.ask(command).unwrap(), "ok", "{command}");
}

fn huge_kb(f: &mut Fixture, place: &str) -> u64 {
    let address = place.split(' ').next().unwrap();
    let answer = f.ask(&format!("huge {address}")).unwrap();
    answer.strip_prefix("huge ").unwrap().parse().unwrap()
}

fn flags(f: &mut Fixture, place: &str) -> Vec<String> {
    let address = place.split(' ').next().unwrap();
    let answer = f.ask(&format!("smaps {address} VmFlags")).unwrap();
    answer.split(' ').map(str::to_owned).collect()
}

/// How much of fresh memory becomes huge when it is touched, in KiB.
fn fresh(f: &mut Fixture, advice: Option<i32>) -> u64 {
    let place = map(f, "map");
    if let Some(advice) = advice {
        ok(f, &format!("advise {place} {advice}"));
    }
    ok(f, &format!("touch {place}"));
    ok(f, &format!("check {place}"));
    let huge = huge_kb(f, &place);
    ok(f, &format!("unmap {place}"));
    huge
}

fn target(f: &Fixture) -> Target {
    Target::open(f.pid().to_string().parse().unwrap()).unwrap()
}

fn set(f: &Fixture, kind: PolicyKind, across: AcrossExec) -> Outcome {
    let request = Request::set(&[kind], across).unwrap();
    apply(&request, &target(f), &HostCaps::probe().unwrap()).unwrap()
}

fn clear(f: &Fixture, kind: PolicyKind) -> Outcome {
    let request = Request::clear(&[kind]).unwrap();
    apply(&request, &target(f), &HostCaps::probe().unwrap()).unwrap()
}

/// The host's word on PMD-sized pages; the tests below say what they need.
fn host() -> Option<Host> {
    HostCaps::probe().unwrap().thp.map(|host| host.pmd())
}

#[test]
fn never_keeps_huge_pages_away_and_clear_brings_them_back() {
    if matches!(host(), None | Some(Host::Never)) {
        mctl_testkit::skip!("needs a host whose THP knob is not 'never'");
    }
    let mut f = start!("touch");
    assert_eq!(fresh(&mut f, Some(HUGEPAGE)), LEN >> 10, "control");
    set(&f, PolicyKind::Nohugepage, AcrossExec::Inherit);
    assert_eq!(fresh(&mut f, Some(HUGEPAGE)), 0);
    assert_eq!(f.ask("never").unwrap(), "never 1");
    clear(&f, PolicyKind::Nohugepage);
    assert_eq!(fresh(&mut f, Some(HUGEPAGE)), LEN >> 10);
    assert_eq!(f.ask("never").unwrap(), "never 0");
}

#[test]
fn nothing_splits_pages_that_are_huge() {
    if matches!(host(), None | Some(Host::Never)) {
        mctl_testkit::skip!("needs a host whose THP knob is not 'never'");
    }
    let mut f = start!("touch");
    let place = map(&mut f, "map");
    ok(&mut f, &format!("advise {place} {HUGEPAGE}"));
    ok(&mut f, &format!("touch {place}"));
    assert_eq!(huge_kb(&mut f, &place), LEN >> 10);
    set(&f, PolicyKind::Nohugepage, AcrossExec::Inherit);
    assert_eq!(huge_kb(&mut f, &place), LEN >> 10);
    ok(&mut f, &format!("check {place}"));
}

#[test]
fn advised_means_only_where_the_program_asked() {
    if matches!(host(), None | Some(Host::Never)) {
        mctl_testkit::skip!("needs a host whose THP knob is not 'never'");
    }
    if HostCaps::probe().unwrap().except_advised != Support::Yes {
        mctl_testkit::skip!("needs PR_THP_DISABLE_EXCEPT_ADVISED (Linux 6.18)");
    }
    let mut f = start!("touch");
    set(&f, PolicyKind::HugepageAdvised, AcrossExec::Inherit);
    // The kernel's own call leaves the program's switch alone.
    let switch = if has_native_call() { "thp 0" } else { "thp 3" };
    assert_eq!(f.ask("thp").unwrap(), switch);
    assert_eq!(fresh(&mut f, Some(HUGEPAGE)), LEN >> 10);
    assert_eq!(fresh(&mut f, None), 0);
    assert_eq!(fresh(&mut f, Some(NOHUGEPAGE)), 0);
}

#[test]
fn always_on_a_madvise_host_covers_what_is_mapped_now() {
    if host() != Some(Host::Madvise) {
        mctl_testkit::skip!("needs a host whose THP knob says madvise");
    }
    let mut f = start!("touch");
    assert_eq!(fresh(&mut f, None), 0, "control: without advice none");
    let plain = map(&mut f, "map");
    let refused = map(&mut f, "map");
    ok(&mut f, &format!("advise {refused} {NOHUGEPAGE}"));
    let memfd = map(&mut f, "memfd");
    let shared = map(&mut f, "shared");
    let file = map(&mut f, "file");
    let outcome = set(&f, PolicyKind::Hugepage, AcrossExec::Ends);
    if has_native_call() {
        // A policy: no mapping is advised, and what is mapped later is covered too.
        assert!(outcome.is_exact() && outcome.mappings.is_none());
        for place in [&plain, &memfd, &shared] {
            assert!(!flags(&mut f, place).contains(&"hg".to_owned()), "{place}");
        }
        ok(&mut f, &format!("touch {plain}"));
        ok(&mut f, &format!("touch {refused}"));
        assert_eq!(huge_kb(&mut f, &plain), LEN >> 10);
        assert_eq!(huge_kb(&mut f, &refused), 0);
        assert_eq!(fresh(&mut f, None), LEN >> 10);
        assert!(clear(&f, PolicyKind::Hugepage).is_exact());
        assert_eq!(fresh(&mut f, None), 0);
        return;
    }
    let counts = outcome.mappings.clone().unwrap();
    assert!(
        counts.changed >= 3 && counts.skipped_nohugepage >= 1,
        "{counts:?}"
    );
    assert!(counts.failed.is_empty(), "{counts:?}");
    assert!(!outcome.is_exact());
    for place in [&plain, &memfd, &shared] {
        assert!(flags(&mut f, place).contains(&"hg".to_owned()), "{place}");
    }
    assert!(
        !flags(&mut f, &file).contains(&"hg".to_owned()),
        "it would change readahead"
    );
    ok(&mut f, &format!("touch {plain}"));
    ok(&mut f, &format!("touch {refused}"));
    assert_eq!(huge_kb(&mut f, &plain), LEN >> 10);
    assert_eq!(
        huge_kb(&mut f, &refused),
        0,
        "the program's NOHUGEPAGE stands"
    );
    assert_eq!(
        fresh(&mut f, None),
        0,
        "what is mapped later is not covered, as the outcome said"
    );
    let cleared = clear(&f, PolicyKind::Hugepage);
    assert!(!cleared.is_exact(), "the advice stays: {cleared:?}");
    assert!(
        cleared
            .notes
            .iter()
            .any(|note| note.to_string().contains("cannot take it off"))
    );
}

#[test]
fn overriding_the_programs_advice_is_possible_and_never_the_default() {
    if host() != Some(Host::Madvise) {
        mctl_testkit::skip!("needs a host whose THP knob says madvise");
    }
    let mut f = start!("touch");
    let refused = map(&mut f, "map");
    ok(&mut f, &format!("advise {refused} {NOHUGEPAGE}"));
    let mut request = Request::set(&[PolicyKind::Hugepage], AcrossExec::Ends).unwrap();
    request.override_advice = Override::Advice;
    let willing = map(&mut f, "map");
    let outcome = apply(&request, &target(&f), &HostCaps::probe().unwrap()).unwrap();
    assert!(!outcome.is_exact(), "{outcome:?}");
    if has_native_call() {
        // Only what had refused is advised; the rest follows the policy.
        assert!(outcome.mappings.is_some_and(|counts| counts.changed >= 1));
        assert!(!flags(&mut f, &willing).contains(&"hg".to_owned()));
        assert_eq!(fresh(&mut f, Some(NOHUGEPAGE)), 0, "later ones stand");
    }
    ok(&mut f, &format!("touch {refused}"));
    assert_eq!(huge_kb(&mut f, &refused), LEN >> 10);
}

#[test]
fn fork_and_exec_carry_never() {
    let mut f = start!("touch");
    set(&f, PolicyKind::Nohugepage, AcrossExec::Inherit);
    assert!(f.ask("fork").unwrap().starts_with("fork "));
    assert_eq!(f.ask("never").unwrap(), "never 1", "in the child");
    assert_eq!(f.ask("exit").unwrap(), "reaped 0");
    f.send("exec").unwrap();
    f.wait_ready().unwrap();
    assert_eq!(f.ask("never").unwrap(), "never 1", "in the new image");
}

#[test]
fn mergeable_marks_memory_and_is_inherited() {
    if HostCaps::probe().unwrap().memory_merge != Support::Yes {
        mctl_testkit::skip!("needs PR_SET_MEMORY_MERGE (Linux 6.4, CONFIG_KSM)");
    }
    let mut f = start!("touch");
    let before = map(&mut f, "map");
    let outcome = set(&f, PolicyKind::Mergeable, AcrossExec::Inherit);
    assert!(outcome.is_exact(), "{outcome:?}");
    let after = map(&mut f, "map");
    for place in [&before, &after] {
        assert!(flags(&mut f, place).contains(&"mg".to_owned()), "{place}");
    }
    assert!(f.ask("fork").unwrap().starts_with("fork "));
    assert_eq!(f.ask("merge").unwrap(), "merge 1", "in the child");
    assert_eq!(f.ask("exit").unwrap(), "reaped 0");
    let cleared = clear(&f, PolicyKind::Mergeable);
    assert!(cleared.is_exact() && cleared.changed());
    for place in [&before, &after] {
        assert!(!flags(&mut f, place).contains(&"mg".to_owned()), "{place}");
    }
    assert_eq!(f.ask("merge").unwrap(), "merge 0");
}

#[test]
fn many_runs_in_one_stop() {
    if host() != Some(Host::Madvise) {
        mctl_testkit::skip!("needs a host whose THP knob says madvise");
    }
    if has_native_call() {
        mctl_testkit::skip!("no mapping is advised where the kernel has mctl(2)");
    }
    // Every second mapping is NOHUGEPAGE, so that no two runs join.
    let f = start!("vmas", "n=6000", "nohuge=2");
    let outcome = set(&f, PolicyKind::Hugepage, AcrossExec::Ends);
    let counts = outcome.mappings.unwrap();
    assert!(
        counts.runs > 1500 && counts.skipped_nohugepage > 1500,
        "{counts:?}"
    );
    assert!(counts.failed.is_empty());
    let space = mctl::AddressSpace::read(&target(&f), Override::Respect).unwrap();
    assert!(space.runs().is_empty(), "{:?}", space.counts());
    assert!(space.hugepage_mappings() >= counts.changed);
}
