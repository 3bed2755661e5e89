//! The whole suite on the model and on this kernel, and what the suite promises of itself.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stop where a test would"
)]

use std::path::Path;

use mctl_conformance::backend::Trouble;
use mctl_conformance::backend::model::ModelBackend;
use mctl_conformance::backend::stock::StockBackend;
use mctl_conformance::lang::{parse, print_scenario};
use mctl_conformance::report::{Case, Fate, Report, load};

fn cases() -> Vec<Case> {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")).expect("the cases can be read")
}

#[test]
fn every_sentence_holds_on_the_model() {
    let mut model = ModelBackend::default();
    let report = Report::run(&cases(), &mut [&mut model]);
    assert!(report.is_clean(), "{}", report.table(false));
    let counts = report.counts("model");
    assert_eq!(counts.not_possible, 0, "the model can do everything");
}

#[test]
fn no_sentence_differs_on_this_kernel() {
    let mut stock = match StockBackend::with_library(env!("CARGO_BIN_EXE_mctl-conformance").into())
    {
        Ok(stock) => stock,
        Err(Trouble::NotPossible(why)) => {
            mctl_testkit::skip!("{why}");
        }
        Err(broken) => panic!("{broken}"),
    };
    let report = Report::run(&cases(), &mut [&mut stock]);
    assert!(report.is_clean(), "{}", report.table(false));
    assert_eq!(report.idle_backend(), None, "not one sentence was held");
    // The seed's claim must come out false by a run on this kernel, not by a skip.
    let claim = report
        .rows
        .iter()
        .find(|row| row.case.ends_with("seed-claim-future-persists-across-exec"));
    let fate = claim.and_then(|row| row.backends.get("stock"));
    assert_eq!(fate, Some(&Fate::Holds));
}

#[test]
fn there_are_at_least_150_cases_and_each_has_its_sentence() {
    let cases = cases();
    assert!(cases.len() >= 150, "{}", cases.len());
    let mut seen = std::collections::BTreeSet::new();
    for case in &cases {
        let sentence = &case.scenario.sentence;
        assert!(!sentence.is_empty(), "{} has no sentence", case.name);
        assert!(seen.insert(sentence), "{sentence:?} twice");
    }
}

#[test]
fn a_case_reads_back_from_what_it_prints() {
    for case in cases() {
        let text = print_scenario(&case.scenario);
        let mut again = parse(&text).unwrap_or_else(|e| panic!("{}: {e}\n{text}", case.name));
        let mut first = case.scenario.clone();
        for scenario in [&mut again, &mut first] {
            for line in &mut scenario.lines {
                line.number = 0;
            }
        }
        assert_eq!(again, first, "{}", case.name);
    }
}

#[test]
fn the_reports_forms_agree() {
    let mut model = ModelBackend::default();
    let mut cases = cases();
    cases.truncate(5);
    let bad = parse("case \"a <bad> one\"\nspawn p\np unlockall -> EPERM").expect("it parses");
    cases.push(Case {
        name: "bad".to_owned(),
        scenario: bad,
    });
    let report = Report::run(&cases, &mut [&mut model]);
    assert!(!report.is_clean());
    let junit = report.junit();
    assert!(
        junit.contains("tests=\"6\" failures=\"1\" skipped=\"0\""),
        "{junit}"
    );
    assert!(junit.contains("a &lt;bad&gt; one"), "{junit}");
    let json: serde_json::Value =
        serde_json::from_str(&report.json().expect("json")).expect("valid");
    assert_eq!(json["rows"][5]["backends"]["model"]["verdict"], "differs");
    assert_eq!(json["rows"][5]["backends"]["model"]["got"], "ok");
}
