//! Both permission rules, every combination of credentials, without root.

use mctl_abi::permission::{Holds, Ids, Mechanism, OwnerFacts, Relation, Yama, admin, owner};
use mctl_abi::{ACTIONS, Errno, Flags, Request};

const YES_NO: [Holds; 2] = [Holds::Yes, Holds::No];
const MECHANISMS: [Mechanism; 4] = [
    Mechanism::OwnCall,
    Mechanism::Injection,
    Mechanism::RemoteAdvice,
    Mechanism::Read,
];

#[test]
fn admin_rule_asks_for_sys_admin_on_others_and_for_default_exec() {
    for row in ACTIONS {
        for bits in 0..2 {
            let Ok(request) = Request::new(row.action, Flags::from_bits(bits).unwrap()) else {
                continue;
            };
            for relation in [Relation::Own, Relation::Other] {
                for sys_admin in YES_NO {
                    let refused =
                        sys_admin == Holds::No && (relation == Relation::Other || bits == 1);
                    let wanted = if refused { Err(Errno::EPERM) } else { Ok(()) };
                    assert_eq!(admin(request, relation, sys_admin), wanted);
                }
            }
        }
    }
}

/// Every combination of the owner rule's facts over a few ids.
fn each_facts(mut f: impl FnMut(OwnerFacts)) {
    for caller in [0u32, 1000] {
        for target in [0u32, 1000, 1001] {
            for bits in 0..64u32 {
                for yama in [
                    Yama::Classic,
                    Yama::Restricted,
                    Yama::AdminOnly,
                    Yama::NoAttach,
                ] {
                    for relation in [Relation::Own, Relation::Other] {
                        let bit = |n: u32| Holds::from_bool(bits & 1 << n != 0);
                        f(OwnerFacts {
                            relation,
                            caller_uid: Ids::all(caller),
                            caller_gid: Ids::all(caller),
                            target_uid: Ids::all(target),
                            target_gid: Ids::all(target),
                            target_dumpable: bit(0),
                            caps_cover_target: bit(1),
                            sys_ptrace: bit(2),
                            sys_nice: bit(3),
                            yama,
                            yama_related: bit(4),
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn owner_rule_is_the_kernels() {
    let mut seen = [0u32; 2];
    each_facts(|facts| {
        for mechanism in MECHANISMS {
            let got = owner(&facts, mechanism);
            let ptrace = facts.sys_ptrace == Holds::Yes;
            let wanted = if facts.relation == Relation::Own {
                true
            } else {
                let same = facts.caller_uid == facts.target_uid;
                let access = ptrace
                    || (same
                        && facts.target_dumpable == Holds::Yes
                        && facts.caps_cover_target == Holds::Yes);
                let yama = match facts.yama {
                    Yama::Classic => true,
                    Yama::Restricted => ptrace || facts.yama_related == Holds::Yes,
                    Yama::AdminOnly => ptrace,
                    Yama::NoAttach => false,
                };
                match mechanism {
                    Mechanism::OwnCall => false,
                    Mechanism::Injection => access && yama,
                    Mechanism::RemoteAdvice => access && facts.sys_nice == Holds::Yes,
                    Mechanism::Read => access,
                }
            };
            assert_eq!(got.is_ok(), wanted, "{facts:?} {mechanism:?}");
            assert!(got.is_ok() || got == Err(Errno::EPERM));
            seen[usize::from(got.is_ok())] += 1;
        }
    });
    assert!(
        seen.iter().all(|n| *n > 100),
        "both answers occur: {seen:?}"
    );
}

#[test]
fn a_set_id_target_is_not_the_users_own() {
    let mut facts = OwnerFacts {
        relation: Relation::Other,
        caller_uid: Ids::all(1000),
        caller_gid: Ids::all(1000),
        target_uid: Ids {
            effective: 0,
            saved: 0,
            fs: 0,
            real: 1000,
        },
        target_gid: Ids::all(1000),
        target_dumpable: Holds::Yes,
        caps_cover_target: Holds::Yes,
        sys_ptrace: Holds::No,
        sys_nice: Holds::No,
        yama: Yama::Classic,
        yama_related: Holds::No,
    };
    assert_eq!(owner(&facts, Mechanism::Injection), Err(Errno::EPERM));
    facts.target_uid = Ids::all(1000);
    assert_eq!(owner(&facts, Mechanism::Injection), Ok(()));
    facts.target_gid.saved = 5;
    assert_eq!(owner(&facts, Mechanism::Injection), Err(Errno::EPERM));
}

#[test]
fn attaching_uses_the_real_id_and_reading_the_file_system_id() {
    let facts = OwnerFacts {
        relation: Relation::Other,
        caller_uid: Ids {
            real: 1000,
            effective: 0,
            saved: 0,
            fs: 7,
        },
        caller_gid: Ids::all(1000),
        target_uid: Ids::all(7),
        target_gid: Ids::all(1000),
        target_dumpable: Holds::Yes,
        caps_cover_target: Holds::Yes,
        sys_ptrace: Holds::No,
        sys_nice: Holds::Yes,
        yama: Yama::Classic,
        yama_related: Holds::No,
    };
    assert_eq!(owner(&facts, Mechanism::Injection), Err(Errno::EPERM));
    assert_eq!(owner(&facts, Mechanism::Read), Ok(()));
}
