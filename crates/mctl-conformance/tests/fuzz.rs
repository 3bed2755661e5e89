//! The model and this kernel side by side.
//!
//! `MCTL_FUZZ_SECONDS` makes the run longer (600 is the nightly length) and `MCTL_FUZZ_SEED`
//! another one.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stop where a test would"
)]

use std::time::Duration;

use arbitrary::Unstructured;
use mctl_conformance::backend::model::ModelBackend;
use mctl_conformance::backend::stock::StockBackend;
use mctl_conformance::backend::{Backend, Trouble};
use mctl_conformance::fuzz::{FuzzOptions, History, Menu, fuzz};
use mctl_conformance::lang::Needs;
use mctl_conformance::run::run_line;
use proptest::prelude::*;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

fn side_by_side(menu: Menu) {
    let mut stock = match StockBackend::with_library(env!("CARGO_BIN_EXE_mctl-conformance").into())
    {
        Ok(stock) => stock,
        Err(Trouble::NotPossible(why)) => {
            mctl_testkit::skip!("{why}");
        }
        Err(broken) => panic!("{broken}"),
    };
    let mut model = ModelBackend::new(stock.image().clone()).on_host(stock.host().clone());
    let options = FuzzOptions {
        menu,
        seed: number("MCTL_FUZZ_SEED", 1),
        time: Duration::from_secs(number("MCTL_FUZZ_SECONDS", 8)),
        needs: Needs::all_of(stock.host()),
        ..FuzzOptions::default()
    };
    let report = fuzz(&options, &mut model, &mut stock).expect("both run");
    println!(
        "{} steps in {:?}, {} not reproduced",
        report.steps, report.time, report.not_reproduced
    );
    let texts: Vec<&str> = report
        .disagreements
        .iter()
        .map(|(_, t)| t.as_str())
        .collect();
    assert!(texts.is_empty(), "{}", texts.join("\n"));
    assert!(report.steps > 100, "too few steps to mean anything");
}

#[test]
fn plain_calls_look_the_same() {
    side_by_side(Menu::Plain);
}

#[test]
fn policy_calls_look_the_same() {
    side_by_side(Menu::Policy);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    /// The model keeps its invariants over any history, with every call there is.
    #[test]
    fn the_model_keeps_its_invariants(bytes in proptest::collection::vec(any::<u8>(), 200..1500)) {
        let mut source = Unstructured::new(&bytes);
        let Ok(history) = History::generate(&mut source, Menu::Policy, 60) else {
            return Ok(());
        };
        let mut model = ModelBackend::default();
        let needs = Needs { swap_pages: Some(64), ..Needs::default() };
        model.begin(&needs, &History::names()).expect("it begins");
        for line in history.to_scenario("", &[]).lines {
            // A step by a task that was never made is the only trouble there can be.
            let _ = run_line(&line, &mut model);
            if let Err(broken) = model.model().check() {
                prop_assert!(false, "{broken} after {line:?}");
            }
        }
    }
}
