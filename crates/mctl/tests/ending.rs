//! Processes that end while they are treated: gone is `ESRCH`, at whichever step it happens.

#![allow(clippy::unwrap_used, reason = "a test helper may panic")]

use std::process::Command;
use std::time::Duration;

use mctl::{AcrossExec, Errno, HostCaps, PolicyKind, Request, Target, apply, apply_each};

/// `CLEAR` of two policies takes two steps: some of the processes end between them.
#[test]
fn a_process_that_ends_between_two_steps_is_gone() {
    let set = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Inherit).unwrap();
    let both = [PolicyKind::Nohugepage, PolicyKind::HugepageAdvised];
    let clear = Request::clear(&both).unwrap();
    let caps = HostCaps::probe_for(&both).unwrap();
    let (mut done, mut gone) = (0, 0);
    // Between two deaths. It follows how long the steps take here, so that both ends of the race are met.
    let mut pause = Duration::from_micros(100);
    for _ in 0..60 {
        let mut children: Vec<_> = (0..4)
            .map(|_| Command::new("sleep").arg("1000").spawn().unwrap())
            .collect();
        let targets: Vec<Target> = children
            .iter()
            .map(|child| Target::open(child.id().to_string().parse().unwrap()).unwrap())
            .collect();
        for target in &targets {
            apply(&set, target, &caps).unwrap();
        }
        let refs: Vec<&Target> = targets.iter().collect();
        let results = std::thread::scope(|scope| {
            scope.spawn(|| {
                for child in &mut children {
                    std::thread::sleep(pause);
                    child.kill().unwrap();
                    child.wait().unwrap();
                }
            });
            apply_each(&clear, &refs, &caps)
        });
        pause = match results.iter().filter(|result| result.is_ok()).count() {
            0 | 1 => (pause * 2).clamp(Duration::from_micros(1), Duration::from_millis(100)),
            2 => pause,
            _ => pause / 2,
        };
        for result in results {
            match result {
                Ok(_) => done += 1,
                Err(error) => {
                    assert_eq!(error.errno(), Errno::ESRCH, "{error}");
                    gone += 1;
                }
            }
        }
    }
    println!("{done} treated, {gone} gone");
    assert!(done > 0 && gone > 0);
}
