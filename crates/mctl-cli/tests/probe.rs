//! `mctl probe`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{AsUser, mctl};
use mctl_testkit::require_root;

#[test]
fn every_policy_has_its_row_and_every_cell_its_reason() {
    let json = mctl(&["probe", "--json"]).assert(0).json();
    let rows = json["policies"].as_array().unwrap();
    assert_eq!(
        rows.len(),
        9,
        "five policies, four of them also with --inherit"
    );
    for row in rows {
        if row["impossible"].is_string() {
            assert!(!row["strict"].as_bool().unwrap() && !row["run"].as_bool().unwrap());
            continue;
        }
        for stretch in ["now", "future", "fork", "exec"] {
            let cell = &row["cells"][stretch];
            assert!(!cell["reason"].as_str().unwrap().is_empty(), "{row}");
            assert!(!cell["mechanisms"].as_array().unwrap().is_empty(), "{row}");
        }
        let exact = ["now", "future", "fork", "exec"]
            .iter()
            .all(|stretch| row["cells"][stretch]["guarantee"] == "enforced");
        if row["strict"].as_bool().unwrap() {
            assert!(exact, "{row}");
        }
    }
    assert!(json["kernel"]["thp_disable"].is_string());
}

#[test]
fn the_tables() {
    let ran = mctl(&["probe"]).assert(0);
    for text in ["POLICY", "nohugepage --inherit", "Caller", "Kernel", "Yama"] {
        assert!(ran.out.contains(text), "{text}: {ran:?}");
    }
    assert_eq!(ran.err, "");
    mctl(&["probe", "1"]).assert(2);
}

#[test]
fn what_a_user_may_do_is_said() {
    require_root!();
    let ran = AsUser::new().mctl(&["probe"]).assert(0);
    assert!(ran.out.contains("no: it needs CAP_SYS_ADMIN"), "{ran:?}");
}
