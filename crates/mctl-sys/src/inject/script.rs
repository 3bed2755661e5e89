//! Scripts: a few system calls that are run in one stop, each under a condition.

use crate::arch::SyscallArgs;
use crate::ptrace::tracee::{Borrowed, NoResult};

/// When a call of a script is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// If the call with this index was run and returned this.
    Returned(usize, i64),
    /// If the call with this index was run and returned something else, not an error.
    ReturnedOther(usize, i64),
    /// If the call with this index was run and returned no error.
    Succeeded(usize),
}

impl When {
    /// Whether the call is to be run, given the results of those before it.
    #[must_use]
    pub fn is_due(self, earlier: impl Fn(usize) -> Option<i64>) -> bool {
        match self {
            When::Always => true,
            When::Returned(at, wanted) => earlier(at) == Some(wanted),
            When::ReturnedOther(at, unwanted) => {
                earlier(at).is_some_and(|got| got >= 0 && got != unwanted)
            }
            When::Succeeded(at) => earlier(at).is_some_and(|got| got >= 0),
        }
    }
}

/// A call of a script. All calls of a script run in one stop, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptCall {
    /// What to run.
    pub call: SyscallArgs,
    /// When.
    pub when: When,
    /// What it returned: a negative number is an errno. `None`: it was not run.
    pub result: Option<i64>,
}

impl ScriptCall {
    /// A call that is always run.
    #[must_use]
    pub const fn new(number: i64, args: [u64; 6]) -> ScriptCall {
        let call = SyscallArgs {
            number: number.cast_unsigned(),
            args,
        };
        ScriptCall {
            call,
            when: When::Always,
            result: None,
        }
    }

    /// The same call under a condition.
    #[must_use]
    pub const fn when(mut self, when: When) -> ScriptCall {
        self.when = when;
        self
    }
}

/// Runs the calls that are due, in the shield: no allocation, no lock, no panic.
pub(super) fn run_script(
    borrowed: &mut Borrowed,
    calls: &mut [ScriptCall],
    patience: u64,
) -> Result<u32, NoResult> {
    let mut ran = 0u32;
    for index in 0..calls.len() {
        let Some(call) = calls.get(index).copied() else {
            break;
        };
        let earlier = |at: usize| calls.get(at).and_then(|call| call.result);
        if call.when.is_due(earlier) {
            let result = borrowed.call(call.call, patience)?;
            ran = ran.saturating_add(1);
            if let Some(slot) = calls.get_mut(index) {
                slot.result = Some(result);
            }
        }
    }
    Ok(ran)
}
