//! IR → JSON → IR and IR → kerneldoc → IR, both without loss.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail tests"
)]

mod common;

use kapi::diag::Source;
use kapi::front::{kdoc, macros};
use kapi::ir::{Corpus, Spec};
use proptest::prelude::*;

fn reread(text: &str) -> Spec {
    let mut parsed = kdoc::parse(&Source::new("round.c", text));
    assert_eq!(parsed.specs.len(), 1, "{text}");
    parsed.specs.remove(0)
}

/// PROPTEST_CASES, or as many as a test run has time for.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_keeps_everything(spec in common::spec()) {
        let corpus = Corpus::new(vec![spec]);
        let text = serde_json::to_string(&corpus).unwrap();
        let back: Corpus = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back, &corpus);
        // Spans compare equal always, so the text is compared, too.
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }

    #[test]
    fn kerneldoc_keeps_everything(spec in common::spec()) {
        let text = kdoc::write(&spec);
        let back = reread(&text);
        prop_assert_eq!(&back, &spec, "{}", text);
        prop_assert_eq!(kdoc::write(&back), text);
    }
}

fn survives(text: &str) {
    let source = Source::new("source", text);
    let spec = macros::parse(&source).specs.remove(0);
    let text = kdoc::write(&spec);
    assert_eq!(reread(&text), spec, "{text}");
    assert!(text.ends_with(" */\nSYSCALL_DEFINE1(mlockall, int, flags);\n"));
    assert!(text.lines().all(|l| l.chars().count() <= 180));
}

#[test]
fn a_specification_survives_kerneldoc_with_its_declaration() {
    survives(&common::own_patch());
    survives(common::OWN);
}

#[test]
fn the_seed_survives_kerneldoc_with_its_declaration() {
    survives(common::seed!(patch));
}
