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

/// What `probe` promises for a process is what `set` then does on one, for root and for anybody.
#[test]
fn set_does_what_was_promised() {
    let json = mctl(&["probe", "--json"]).assert(0).json();
    for row in json["policies"].as_array().unwrap() {
        let fixture = mctl_testkit::start!("pause");
        let pid = fixture.pid().to_string();
        let mut words = vec!["set", row["policy"].as_str().unwrap(), "--json", &pid];
        if row["inherit"].as_bool().unwrap() {
            words.push("--inherit");
        }
        for strict in [true, false] {
            let mut words = words.clone();
            if strict {
                words.push("--strict");
            }
            let ran = mctl(&words);
            let may = row["cells"].is_object() && (!strict || row["strict"].as_bool().unwrap());
            assert_eq!(ran.code, Some(i32::from(!may)), "{words:?} {row}: {ran:?}");
            if !may {
                continue;
            }
            let outcome = &ran.json()["processes"][0]["outcome"];
            for stretch in ["now", "future", "fork", "exec"] {
                let promised = &row["cells"][stretch]["guarantee"];
                let kept = &outcome["guarantees"][stretch];
                assert_eq!(promised, kept, "{words:?} {stretch}: {ran:?}");
            }
        }
    }
}
