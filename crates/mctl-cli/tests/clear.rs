//! `mctl clear`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{host_says, mctl, thp_enabled};
use mctl_testkit::{has_native_call, start};

#[test]
fn what_does_not_stand_is_left_alone() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    mctl(&["set", "-q", "nohugepage", &pid]).assert(0);
    for word in ["hugepage-advised", "mergeable", "fade-on-death"] {
        let ran = mctl(&["clear", word, &pid]).assert(0);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""), "{word}");
        assert!(!thp_enabled(fixture.pid()), "{word}");
    }
    let ran = mctl(&["clear", "-v", "nohugepage", &pid]).assert(0);
    assert!(ran.out.contains("done"), "{ran:?}");
    assert!(thp_enabled(fixture.pid()));
    let ran = mctl(&["clear", "-v", "nohugepage", &pid]).assert(0);
    assert!(ran.out.contains("already so"), "{ran:?}");
}

#[test]
fn everything_at_once() {
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let ran = mctl(&["set", "-q", "nohugepage,mergeable", &pid]);
    if ran.err.contains("no PR_SET_MEMORY_MERGE") {
        mctl_testkit::skip!("needs PR_SET_MEMORY_MERGE");
    }
    ran.assert(0);
    mctl(&["clear", "hugepage-advised,nohugepage", "mergeable", &pid]).assert(0);
    let ran = mctl(&["get", "-n", "--exact", "-o", "POLICY", &pid]).assert(0);
    assert_eq!(ran.out, "inherit\n");
}

#[test]
fn advice_that_stays_is_counted() {
    if host_says().as_deref() != Some("madvise") {
        mctl_testkit::skip!("needs a host whose knob says madvise");
    }
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    mctl(&["set", "-q", "hugepage", &pid]).assert(0);
    if has_native_call() {
        // There it is a policy, and no mapping was advised.
        let ran = mctl(&["clear", "--strict", "hugepage", &pid]).assert(0);
        assert_eq!(ran.err, "");
        return;
    }
    let ran = mctl(&["clear", "hugepage", &pid]).assert(0);
    assert!(ran.err.contains("keep their HUGEPAGE advice"), "{ran:?}");
    mctl(&["clear", "--strict", "hugepage", &pid]).assert(1);
}

#[test]
fn options_of_set_alone_are_unknown() {
    mctl(&["clear", "--inherit", "nohugepage", "1"]).assert(2);
    mctl(&["clear", "--override-advice", "nohugepage", "1"]).assert(2);
}
