//! The order of the checks: whichever set of them fails, the first in the contract's list speaks,
//! and no later fact is asked for.

use mctl_abi::{ACTIONS, Checks, Errno, Request, check};

/// Facts with a chosen set of failures; records what was asked.
struct Facts {
    fails: u32,
    asked: Vec<&'static str>,
}

impl Facts {
    fn answer(&mut self, bit: u32, name: &'static str, errno: Errno) -> Result<(), Errno> {
        self.asked.push(name);
        if self.fails & 1 << bit == 0 {
            Ok(())
        } else {
            Err(errno)
        }
    }
}

impl Checks for Facts {
    fn pidfd(&mut self) -> Result<(), Errno> {
        self.answer(0, "pidfd", Errno::EBADF)
    }
    fn address_space(&mut self) -> Result<(), Errno> {
        self.answer(1, "address space", Errno::ESRCH)
    }
    fn permission(&mut self, _: Request) -> Result<(), Errno> {
        self.answer(2, "permission", Errno::EPERM)
    }
    fn ability(&mut self, _: Request) -> Result<(), Errno> {
        self.answer(3, "ability", Errno::EOPNOTSUPP)
    }
    fn reach(&mut self) -> Result<(), Errno> {
        self.answer(4, "reach", Errno::EBUSY)
    }
}

const ORDER: [Errno; 5] = [
    Errno::EBADF,
    Errno::ESRCH,
    Errno::EPERM,
    Errno::EOPNOTSUPP,
    Errno::EBUSY,
];

#[test]
fn the_first_failing_check_speaks() {
    for row in ACTIONS {
        for flags in 0..4u32 {
            for fails in 0..32u32 {
                let mut facts = Facts {
                    fails,
                    asked: Vec::new(),
                };
                let result = check(row.number, flags, &mut facts);
                let words_fail = flags > 1 || (flags == 1 && !row.takes_default_exec);
                if words_fail {
                    assert_eq!(result, Err(Errno::EINVAL));
                    assert!(
                        facts.asked.is_empty(),
                        "nothing is asked about a senseless call"
                    );
                } else if fails == 0 {
                    let request = result.unwrap();
                    assert_eq!(
                        (request.action(), request.flags().bits()),
                        (row.action, flags)
                    );
                    assert_eq!(facts.asked.len(), 5);
                } else {
                    let first = fails.trailing_zeros() as usize;
                    assert_eq!(result, Err(ORDER[first]), "{row:?} {flags} {fails:#b}");
                    assert_eq!(facts.asked.len(), first + 1);
                }
            }
        }
    }
}

#[test]
fn unknown_actions_and_flags_come_first() {
    for action in [0, -1, 11, 255, 257, i32::MIN, i32::MAX] {
        let mut facts = Facts {
            fails: 31,
            asked: Vec::new(),
        };
        assert_eq!(check(action, 0, &mut facts), Err(Errno::EINVAL));
        assert!(facts.asked.is_empty());
    }
    for bit in 1..32 {
        assert_eq!(Request::decode(1, 1 << bit), Err(Errno::EINVAL));
        assert_eq!(Request::decode(1, 1 << bit | 1), Err(Errno::EINVAL));
    }
}
