//! The eligibility table of the contract, cell by cell, and what follows from it.

use mctl_abi::thp::{Advice, Host, ThpDisable, may_be_huge, may_collapse, seen};
use mctl_abi::{Errno, Thp};

/// The contract's table as it is printed: `h` as the host says, `u` unless the host says never,
/// `-` no. Columns: no advice, HUGEPAGE, NOHUGEPAGE.
const TABLE: [(Thp, [char; 3]); 4] = [
    (Thp::Inherit, ['h', 'u', '-']),
    (Thp::Always, ['u', 'u', '-']),
    (Thp::Advised, ['-', 'u', '-']),
    (Thp::Never, ['-', '-', '-']),
];

#[test]
fn every_cell() {
    for (policy, row) in TABLE {
        for (advice, cell) in Advice::ALL.into_iter().zip(row) {
            for host in Host::ALL {
                let wanted = match cell {
                    'h' => host == Host::Always,
                    'u' => host != Host::Never,
                    _ => false,
                };
                let got = may_be_huge(host, policy, ThpDisable::Off, advice);
                assert_eq!(got, wanted, "{policy:?} {advice:?} {host:?}");
            }
        }
    }
}

#[test]
fn the_programs_own_disable_is_stricter_but_for_always() {
    for host in Host::ALL {
        for policy in Thp::ALL {
            for advice in Advice::ALL {
                let off = may_be_huge(host, policy, ThpDisable::Off, advice);
                assert!(
                    !may_be_huge(host, policy, ThpDisable::Full, advice),
                    "full acts as Never"
                );
                let except = may_be_huge(host, policy, ThpDisable::ExceptAdvised, advice);
                assert!(off || !except, "never looser");
                if policy == Thp::Always {
                    assert_eq!(except, off);
                }
            }
        }
    }
}

#[test]
fn no_policy_overrides_nohugepage_or_a_host_that_says_never() {
    for policy in Thp::ALL {
        for disable in ThpDisable::ALL {
            for host in Host::ALL {
                assert!(!may_be_huge(host, policy, disable, Advice::Nohugepage));
            }
            for advice in Advice::ALL {
                assert!(!may_be_huge(Host::Never, policy, disable, advice));
            }
        }
    }
}

#[test]
fn collapse_is_refused_under_never_and_nohugepage_only() {
    for policy in Thp::ALL {
        for advice in Advice::ALL {
            for disable in ThpDisable::ALL {
                let refused = policy == Thp::Never
                    || disable == ThpDisable::Full
                    || advice == Advice::Nohugepage;
                let wanted = if refused { Err(Errno::EINVAL) } else { Ok(()) };
                assert_eq!(may_collapse(policy, disable, advice), wanted);
            }
        }
    }
}

#[test]
fn getter_and_setter_values_are_the_kernels() {
    for (disable, get, set) in [
        (ThpDisable::Off, 0, (0, 0)),
        (ThpDisable::Full, 1, (1, 0)),
        (ThpDisable::ExceptAdvised, 3, (1, 2)),
    ] {
        assert_eq!((disable.getter(), disable.setter()), (get, set));
        assert_eq!(ThpDisable::from_getter(get), Some(disable));
    }
    assert_eq!(ThpDisable::from_getter(2), None, "unknown stays unknown");
    assert_eq!(ThpDisable::from_getter(-1), None);
}

#[test]
fn errno_names() {
    assert_eq!(Errno::EOPNOTSUPP.to_string(), "EOPNOTSUPP");
    assert_eq!(format!("{:?}", Errno::from_raw(3)), "ESRCH(3)");
    assert_eq!(Errno::from_raw(4095).to_string(), "errno 4095");
}

#[test]
fn the_advice_seen_through_the_policy_gives_the_table_back() {
    for policy in Thp::ALL {
        for advice in Advice::ALL {
            for disable in ThpDisable::ALL {
                for host in Host::ALL {
                    // A kernel judges what is seen as it judges advice under no policy. Only
                    // EXCEPT_ADVISED is looked up beside the advice, and so are both here.
                    assert_eq!(
                        may_be_huge(host, Thp::Inherit, disable, seen(policy, advice, false)),
                        may_be_huge(host, policy, disable, advice),
                        "{policy:?} {advice:?} {disable:?} {host:?}"
                    );
                }
                assert_eq!(
                    may_collapse(Thp::Inherit, disable, seen(policy, advice, true)),
                    may_collapse(policy, disable, advice),
                    "{policy:?} {advice:?} {disable:?}"
                );
            }
        }
    }
}

#[test]
fn without_a_policy_the_advice_is_seen_as_it_is() {
    for advice in Advice::ALL {
        assert_eq!(seen(Thp::Inherit, advice, false), advice);
        assert_eq!(seen(Thp::Inherit, advice, true), advice);
    }
}
