//! The state machine, every state × every action × every flag, against a second, plain writing of
//! the contract's rules; and the invariants as properties of any history.

#![allow(clippy::unwrap_used, reason = "a test helper may panic")]

use mctl_abi::{ACTIONS, Action, Errno, Flags, Policy, PolicyKind, Request, Thp, Verb};
use proptest::prelude::*;

/// The record as the contract writes it down, before any packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plain {
    thp: Thp,
    thp_exec: bool,
    mergeable: bool,
    mergeable_exec: bool,
    fade: bool,
}

fn plain(policy: Policy) -> Plain {
    let thp = policy.thp();
    Plain {
        thp,
        thp_exec: thp.kind().is_some_and(|kind| policy.survives_exec(kind)),
        mergeable: policy.has(PolicyKind::Mergeable),
        mergeable_exec: policy.survives_exec(PolicyKind::Mergeable),
        fade: policy.has(PolicyKind::FadeOnDeath),
    }
}

fn all_plain() -> Vec<Plain> {
    let mut states = Vec::new();
    for thp in Thp::ALL {
        for bits in 0..16u32 {
            let state = Plain {
                thp,
                thp_exec: bits & 1 != 0,
                mergeable: bits & 2 != 0,
                mergeable_exec: bits & 4 != 0,
                fade: bits & 8 != 0,
            };
            let valid = (!state.thp_exec || thp != Thp::Inherit)
                && (!state.mergeable_exec || state.mergeable);
            if valid {
                states.push(state);
            }
        }
    }
    states
}

fn pack(state: Plain) -> u32 {
    let thp = match state.thp {
        Thp::Inherit => 0,
        Thp::Always => 1,
        Thp::Never => 2,
        Thp::Advised => 16,
    };
    let mut mask = thp;
    if state.thp_exec {
        mask |= thp << 8;
    }
    if state.fade {
        mask |= 4;
    }
    if state.mergeable {
        mask |= 8;
    }
    if state.mergeable_exec {
        mask |= 8 << 8;
    }
    mask
}

fn expected(mut s: Plain, action: Action, exec: bool) -> Plain {
    let set_thp = |s: &mut Plain, thp| {
        s.thp = thp;
        s.thp_exec = exec;
    };
    let clear_thp = |s: &mut Plain, thp| {
        if s.thp == thp {
            s.thp = Thp::Inherit;
            s.thp_exec = false;
        }
    };
    match action {
        Action::SetHugepage => set_thp(&mut s, Thp::Always),
        Action::SetNohugepage => set_thp(&mut s, Thp::Never),
        Action::SetHugepageAdvised => set_thp(&mut s, Thp::Advised),
        Action::ClearHugepage => clear_thp(&mut s, Thp::Always),
        Action::ClearNohugepage => clear_thp(&mut s, Thp::Never),
        Action::ClearHugepageAdvised => clear_thp(&mut s, Thp::Advised),
        Action::SetMergeable => {
            s.mergeable = true;
            s.mergeable_exec = exec;
        }
        Action::ClearMergeable => {
            s.mergeable = false;
            s.mergeable_exec = false;
        }
        Action::SetFadeOnDeath => s.fade = true,
        Action::ClearFadeOnDeath => s.fade = false,
        Action::GetPolicy => {}
    }
    s
}

fn requests() -> Vec<Request> {
    let mut all = Vec::new();
    for row in ACTIONS {
        for bits in 0..=1 {
            let flags = Flags::from_bits(bits).unwrap();
            match Request::new(row.action, flags) {
                Ok(request) => all.push(request),
                Err(errno) => assert_eq!((errno, row.takes_default_exec), (Errno::EINVAL, false)),
            }
        }
    }
    all
}

#[test]
fn every_state_takes_every_call_as_the_contract_says() {
    let states = all_plain();
    assert_eq!(states.len(), 7 * 3 * 2, "thp×exec, mergeable×exec, fade");
    assert_eq!(requests().len(), 11 + 4, "four actions take the flag");
    for state in states {
        let policy = Policy::from_mask(pack(state)).expect("a valid state has a mask");
        assert_eq!(plain(policy), state);
        for request in requests() {
            let after = policy.apply(request);
            let wanted = expected(state, request.action(), request.flags().default_exec());
            assert_eq!(plain(after), wanted, "{state:?} after {request:?}");
            assert_eq!(after.mask(), pack(wanted), "{state:?} after {request:?}");
            assert_eq!(after.apply(request), after, "idempotent");
        }
        let fork = Plain {
            fade: false,
            ..state
        };
        assert_eq!(plain(policy.on_fork()), fork);
        let exec = Plain {
            thp: if state.thp_exec {
                state.thp
            } else {
                Thp::Inherit
            },
            thp_exec: state.thp_exec,
            mergeable: state.mergeable_exec,
            mergeable_exec: state.mergeable_exec,
            fade: false,
        };
        assert_eq!(plain(policy.on_exec()), exec, "exec of {state:?}");
    }
}

#[test]
fn masks_that_break_an_invariant_are_refused() {
    let valid: Vec<u32> = all_plain().into_iter().map(pack).collect();
    for mask in 0..=0x1_ffff_u32 {
        assert_eq!(
            Policy::from_mask(mask).is_some(),
            valid.contains(&mask),
            "{mask:#x}"
        );
    }
    for bit in 17..32 {
        assert_eq!(Policy::from_mask(1 << bit), None);
    }
}

#[test]
fn the_table_is_consistent_with_itself() {
    for row in ACTIONS {
        assert_eq!(row.action.number(), row.number);
        assert_eq!(row.action.info(), *row);
        assert_eq!(Action::from_number(row.number), Some(row.action));
        match row.effect {
            Some((verb, kind)) => {
                let k = kind as i32;
                assert_eq!(kind.bit(), 1 << k);
                assert_eq!(kind.exec_bit(), 1 << (8 + k));
                let number = 2 * k + if verb == Verb::Set { 1 } else { 2 };
                assert_eq!(row.number, number);
                assert_eq!(Action::of(verb, kind), row.action);
                assert_eq!(kind.word(), row.word);
                assert_eq!(PolicyKind::from_word(row.word), Some(kind));
                let verb = if verb == Verb::Set { "SET" } else { "CLEAR" };
                let word = row.word.to_uppercase().replace('-', "_");
                assert_eq!(row.c_name, format!("MCTL_{verb}_{word}"));
                assert_eq!(
                    row.takes_default_exec,
                    verb == "SET" && kind != PolicyKind::FadeOnDeath
                );
            }
            None => assert_eq!((row.action, row.number), (Action::GetPolicy, 256)),
        }
    }
    let known: Vec<i32> = ACTIONS.iter().map(|row| row.number).collect();
    for number in (-300..=600).chain([i32::MIN, i32::MAX]) {
        assert_eq!(
            Action::from_number(number).is_some(),
            known.contains(&number)
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Call(Request),
    Fork,
    Exec,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => proptest::sample::select(requests()).prop_map(Event::Call),
        1 => Just(Event::Fork),
        1 => Just(Event::Exec),
    ]
}

proptest! {
    /// At most one THP policy, exec ⇒ policy, fade never inherited: after any history.
    #[test]
    fn invariants_hold_after_any_history(events in proptest::collection::vec(event(), 0..60)) {
        let mut policy = Policy::INHERIT;
        for event in events {
            let before = policy;
            policy = match event {
                Event::Call(request) => policy.apply(request),
                Event::Fork => policy.on_fork(),
                Event::Exec => policy.on_exec(),
            };
            prop_assert_eq!(Policy::from_mask(policy.mask()), Some(policy));
            let thp = PolicyKind::ALL.iter().filter(|k| k.is_thp() && policy.has(**k)).count();
            prop_assert!(thp <= 1);
            match event {
                Event::Call(_) => {}
                Event::Fork => prop_assert_eq!(policy.mask() | 4, before.mask() | 4),
                Event::Exec => {
                    prop_assert_eq!(policy.on_exec(), policy);
                    prop_assert_eq!(policy.mask() & !before.mask(), 0, "exec gains nothing");
                }
            }
        }
    }

    /// SET then CLEAR of the same policy from Inherit is Inherit, whatever ran in between on the
    /// other policies.
    #[test]
    fn clear_undoes_set(kind in proptest::sample::select(PolicyKind::ALL.to_vec()), exec in any::<bool>()) {
        let flags = if exec { Flags::DEFAULT_EXEC } else { Flags::NONE };
        if let Ok(set) = Request::new(Action::of(Verb::Set, kind), flags) {
            let clear = Request::new(Action::of(Verb::Clear, kind), Flags::NONE).unwrap();
            let set = Policy::INHERIT.apply(set);
            prop_assert!(set.has(kind));
            prop_assert_eq!(set.survives_exec(kind), exec);
            prop_assert_eq!(set.apply(clear), Policy::INHERIT);
        }
    }

    #[test]
    fn decode_takes_any_numbers(action in any::<i32>(), flags in any::<u32>()) {
        if let Ok(request) = Request::decode(action, flags) {
            prop_assert_eq!(request.action().number(), action);
            prop_assert_eq!(request.flags().bits(), flags);
        }
    }
}
