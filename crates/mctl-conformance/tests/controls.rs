//! The suite's own controls: a fault on purpose is noticed, at the sentence that it breaks.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stop where a test would"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use mctl_conformance::contract::{TEXT, sentences};
use mctl_conformance::control::{Controls, idle_reasons, idle_steps, reasons};
use mctl_conformance::report::built_in;
use mctl_model::Mutant;

fn controls() -> &'static Controls {
    static CONTROLS: OnceLock<Controls> = OnceLock::new();
    CONTROLS.get_or_init(|| Controls::run(&built_in().expect("the cases")))
}

#[test]
fn every_fault_of_the_model_is_noticed_at_its_sentence() {
    assert!(Mutant::ALL.len() >= 30);
    let missed: Vec<String> = Mutant::ALL
        .iter()
        .filter(|mutant| controls().at_its_sentence(**mutant).is_empty())
        .map(|mutant| format!("{mutant:?} ({})", mutant.sentence()))
        .collect();
    assert!(missed.is_empty(), "not noticed: {}", missed.join(", "));
}

#[test]
fn every_fault_breaks_a_sentence_that_there_is() {
    let anchors: BTreeSet<String> = sentences(TEXT)
        .expect("the contract reads")
        .into_iter()
        .map(|sentence| sentence.anchor)
        .collect();
    for mutant in Mutant::ALL {
        assert!(anchors.contains(mutant.sentence()), "{mutant:?}");
    }
}

#[test]
fn an_engine_that_does_nothing_is_noticed_but_by_the_listed() {
    let hold: BTreeSet<&str> = controls()
        .hold_under_nothing
        .iter()
        .map(String::as_str)
        .collect();
    let listed: BTreeSet<&str> = reasons().into_keys().collect();
    assert_eq!(hold, listed, "each that holds is listed, and no other");
    assert!(hold.len() <= 40);
    // The control of the control: most ask it for something.
    assert!(controls().asking > 200, "{}", controls().asking);
}

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/suite-controls.md");
    let page = std::fs::read_to_string(path).expect("docs/suite-controls.md");
    assert!(
        page == controls().markdown(),
        "cargo run -p mctl-conformance -- controls --write docs/suite-controls.md"
    );
}

/// A sentence whose row of the table is less than enforced has a case that notices the claim.
#[test]
fn an_engine_that_claims_everything_is_noticed_at_every_row_that_is_less() {
    let cases = built_in().expect("the cases");
    for anchor in [
        "outcome-exact",
        "outcome-strict",
        "check-cannot",
        "stock-never",
        "stock-advised",
        "stock-mergeable",
        "stock-always-on-madvise",
        "stock-always-on-always",
        "stock-always-is-inherit",
        "stock-clear-residual",
        "stock-huge-zero",
    ] {
        let noticed = cases.iter().any(|case| {
            case.scenario.shows.iter().any(|shown| shown == anchor)
                && controls().notice_claims.contains(&case.name)
        });
        assert!(noticed, "nobody notices a false claim about {anchor}");
    }
}

/// A step without which its case holds as well shows nothing by itself: each has its reason.
#[test]
fn every_step_counts_but_for_the_listed() {
    let idle = idle_steps(&built_in().expect("the cases"));
    let idle: BTreeSet<(&str, &str)> = idle
        .iter()
        .map(|idle| (idle.case.as_str(), idle.step.as_str()))
        .collect();
    let reasons = idle_reasons();
    assert!(reasons.values().all(|why| !why.is_empty()));
    let listed: BTreeSet<(&str, &str)> = reasons.into_keys().collect();
    assert_eq!(idle, listed, "each that is idle is listed, and no other");
}
