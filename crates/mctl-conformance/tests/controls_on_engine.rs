//! The suite's controls on real processes: engines with a fault on purpose, each of which the cases notice on this
//! kernel as well as on the model.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stop where a test would"
)]

use mctl_conformance::backend::Trouble;
use mctl_conformance::backend::engine::{Claiming, Engine, Idle, Library};
use mctl_conformance::backend::stock::StockBackend;
use mctl_conformance::control::{asks_engine, reasons};
use mctl_conformance::report::{Case, built_in};
use mctl_conformance::run::{Verdict, run};

/// What each case that asks the engine for something comes to under it; why not, where this machine runs none.
fn verdicts(engine: Box<dyn Engine + Send>) -> Result<Vec<(Case, Verdict)>, String> {
    let mut stock = match StockBackend::new(engine) {
        Ok(stock) => stock,
        Err(Trouble::NotPossible(why)) => return Err(why),
        Err(broken) => panic!("{broken}"),
    };
    let cases = built_in().expect("the cases");
    let asking = cases.into_iter().filter(asks_engine);
    Ok(asking
        .map(|case| {
            let verdict = run(&case.scenario, &mut stock);
            (case, verdict)
        })
        .collect())
}

/// Whether a case shows this sentence.
fn shows(case: &Case, anchor: &str) -> bool {
    case.scenario.shows.iter().any(|shown| shown == anchor)
}

#[test]
fn an_engine_that_does_nothing_is_noticed() {
    let verdicts = match verdicts(Box::new(Idle)) {
        Ok(verdicts) => verdicts,
        Err(why) => mctl_testkit::skip!("{why}"),
    };
    let listed = reasons();
    let hold: Vec<&str> = verdicts
        .iter()
        .filter(|(_, verdict)| *verdict == Verdict::Holds)
        .map(|(case, _)| case.name.as_str())
        .filter(|name| !listed.contains_key(name))
        .collect();
    assert!(hold.is_empty(), "hold although nothing was done: {hold:?}");
    let differ = |(_, verdict): &&(Case, Verdict)| matches!(verdict, Verdict::Differs { .. });
    let noticed = verdicts.iter().filter(differ).count();
    println!("{noticed} of {} cases notice it here", verdicts.len());
    assert!(noticed > 100, "{noticed} of {}", verdicts.len());
}

#[test]
fn an_engine_that_claims_everything_is_noticed() {
    let library = Library::by(env!("CARGO_BIN_EXE_mctl-conformance").into());
    let verdicts = match verdicts(Box::new(Claiming::over(library))) {
        Ok(verdicts) => verdicts,
        Err(why) => mctl_testkit::skip!("{why}"),
    };
    // Rows that are less than enforced on every stock kernel.
    for anchor in ["outcome-strict", "stock-never"] {
        let noticed = verdicts.iter().any(|(case, verdict)| {
            shows(case, anchor) && matches!(verdict, Verdict::Differs { .. })
        });
        assert!(noticed, "nobody notices a false claim about {anchor}");
    }
}
