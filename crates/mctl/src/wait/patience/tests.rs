use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn busy(pid: i32) -> Error {
    let waited_ms = u64::from(limits().wait_ms);
    let source = InjectError::Refused(Refusal::NoHarmlessMoment {
        tid: pid,
        call: "read(2)".to_owned(),
        harm: mctl_sys::inject::moment::Harm::Short,
        waited_ms,
        no_clock: None,
    });
    Error::Inject { pid, source }
}

/// A target that has its moment once it was waited for so long at a time.
fn wait_for(pid: i32, needs: Duration, waits: &mut Vec<(i32, Duration)>) -> Result<i32> {
    let may = ms(u64::from(limits().wait_ms));
    let waited = may.min(needs);
    spend(waited);
    waits.push((pid, waited));
    if may >= needs {
        Ok(pid)
    } else {
        Err(busy(pid))
    }
}

fn sum(waits: &[(i32, Duration)]) -> Duration {
    waits.iter().map(|(_, waited)| *waited).sum()
}

const NEVER: Duration = Duration::from_secs(1_000_000);

#[test]
fn all_of_them_wait_no_longer_than_one() {
    let wait = patience().wait;
    for (count, never) in [(1, 1), (2, 1), (40, 1), (40, 3), (1000, 1000)] {
        let items: Vec<i32> = (1..=count).collect();
        let mut waits = Vec::new();
        let needs = |pid: i32| match pid {
            pid if pid <= never => NEVER,
            // One needs a moment, the others none.
            pid if pid == count => ms(5),
            _ => Duration::ZERO,
        };
        let results = in_turn(&items, |pid| wait_for(*pid, needs(*pid), &mut waits));
        assert!(sum(&waits) <= wait, "{count}: {:?}", sum(&waits));
        if never < 100 {
            assert!(sum(&waits) >= wait * 9 / 10, "{count}: {:?}", sum(&waits));
        }
        for (pid, result) in items.iter().zip(&results) {
            assert_eq!(result.is_ok(), *pid > never, "{pid} of {count}");
        }
        // It says how long it was waited for in all.
        if let (1, Some(Err(error))) = (never, results.first()) {
            let told = error.to_string();
            let all = waits.iter().filter(|(pid, _)| *pid == 1);
            let all: Duration = all.map(|(_, waited)| *waited).sum();
            assert!(told.contains(&format!("{} ms", all.as_millis())), "{told}");
        }
    }
}

#[test]
fn what_is_done_together_shares_the_wait() {
    let wait = patience().wait;
    let own = || ms(u64::from(limits().wait_ms));
    spend(wait);
    assert_eq!(own(), wait, "each for itself");
    together(|| {
        spend(wait / 4);
        assert_eq!(own(), wait * 3 / 4);
        at_most(wait / 2, || {
            assert_eq!(own(), wait / 2);
            together(|| spend(wait / 8));
            assert_eq!(own(), wait * 3 / 8);
            spend(wait);
            assert_eq!(own(), Duration::ZERO);
        });
        assert_eq!(own(), Duration::ZERO);
    });
    assert_eq!(own(), wait);
    let caught = std::panic::catch_unwind(|| together(|| panic!("as ever")));
    assert!(caught.is_err());
    spend(wait);
    assert_eq!(own(), wait, "a panic ends the sharing");
}

/// Refused at once, with nothing waited: a thread in vfork that did not stop.
#[test]
fn what_takes_no_time_is_not_come_back_to_for_ever() {
    let mut asked = 0;
    let results = in_turn(&[1, 2], |pid| -> Result<()> {
        asked += 1;
        let source = InjectError::Refused(Refusal::InVfork);
        Err(Error::Inject { pid: *pid, source })
    });
    assert!(results.iter().all(Result::is_err));
    assert!(asked <= 100, "{asked}");
}

#[test]
fn turns_come_to_an_end_and_take_all_there_is() {
    for wait in [0, 1, 29, 150, 1000, 5000, 120_000, u64::from(u32::MAX)] {
        for count in [1, 3, 128] {
            let (mut left, mut rounds) = (ms(wait), 0);
            loop {
                let mut last = true;
                for at in 0..count {
                    let turn = Turn::within(left, rounds, count - at);
                    assert!(turn.most <= left);
                    left -= turn.most;
                    last &= turn.is_last;
                }
                rounds += 1;
                if last {
                    break;
                }
            }
            assert!(rounds < 100, "{rounds} rounds of {wait} ms for {count}");
            assert_eq!(left, Duration::ZERO, "{wait} ms for {count}");
        }
    }
}
