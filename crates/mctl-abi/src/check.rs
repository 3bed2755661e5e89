// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only

//! The checks of a call, in the contract's order.

use crate::action::{Action, Flags};
use crate::errno::Errno;

/// A call whose words make sense: the action is known and takes these flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    action: Action,
    flags: Flags,
}

impl Request {
    /// Steps 1 and 2 on the C ABI's numbers.
    ///
    /// # Errors
    /// `EINVAL` for an unknown action, an unknown flag, or a flag that the action does not take.
    pub const fn decode(action: i32, flags: u32) -> Result<Request, Errno> {
        let Some(action) = Action::from_number(action) else {
            return Err(Errno::EINVAL);
        };
        let Some(flags) = Flags::from_bits(flags) else {
            return Err(Errno::EINVAL);
        };
        Request::new(action, flags)
    }

    /// Step 2 on typed values.
    ///
    /// # Errors
    /// `EINVAL` where the action does not take the flags.
    pub const fn new(action: Action, flags: Flags) -> Result<Request, Errno> {
        if flags.default_exec() && !action.takes_default_exec() {
            return Err(Errno::EINVAL);
        }
        Ok(Request { action, flags })
    }

    /// The action.
    #[must_use]
    pub const fn action(self) -> Action {
        self.action
    }

    /// The flags.
    #[must_use]
    pub const fn flags(self) -> Flags {
        self.flags
    }
}

/// The facts that a backend finds out, asked for one after the other and only as far as the
/// answers are yes. Each method may cost something; none is called before the ones above it
/// have succeeded.
pub trait Checks {
    /// Step 3: is the descriptor a pidfd? `EBADF`.
    ///
    /// # Errors
    /// The errno to return.
    fn pidfd(&mut self) -> Result<(), Errno>;
    /// Step 4: is the process there, with an address space? `ESRCH` for a zombie or kernel thread.
    ///
    /// # Errors
    /// The errno to return.
    fn address_space(&mut self) -> Result<(), Errno>;
    /// Step 5: may the caller? `EPERM`. See [`crate::permission`].
    ///
    /// # Errors
    /// The errno to return.
    fn permission(&mut self, request: Request) -> Result<(), Errno>;
    /// Step 6: can this kernel do what was asked, exactly? `EOPNOTSUPP`.
    ///
    /// # Errors
    /// The errno to return.
    fn ability(&mut self, request: Request) -> Result<(), Errno>;
    /// Step 7: can the target be reached now? `EBUSY`.
    ///
    /// # Errors
    /// The errno to return.
    fn reach(&mut self) -> Result<(), Errno>;
}

/// Runs every check in the contract's order and stops at the first that fails.
///
/// # Errors
/// That check's errno. Nothing has been changed then.
pub fn check<C: Checks + ?Sized>(action: i32, flags: u32, facts: &mut C) -> Result<Request, Errno> {
    let request = Request::decode(action, flags)?;
    facts.pidfd()?;
    facts.address_space()?;
    facts.permission(request)?;
    facts.ability(request)?;
    facts.reach()?;
    Ok(request)
}
