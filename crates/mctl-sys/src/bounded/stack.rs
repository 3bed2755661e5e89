//! Stacks for tasks that share our memory, one a thread and kept.

use std::cell::Cell;

use mctl_abi::Errno;

use crate::raw::last_errno;

/// Only what is touched is memory.
const STACK_BYTES: usize = 1024 * 1024;

thread_local! {
    /// The thread waits while its task runs. A task that starts another finds none here, and makes one.
    static KEPT: Cell<Option<Stack>> = const { Cell::new(None) };
}

/// A stack with a guard page below it.
#[derive(Debug)]
pub(super) struct Stack {
    base: *mut libc::c_void,
}

impl Stack {
    pub(super) fn take() -> Result<Stack, Errno> {
        match KEPT.with(Cell::take) {
            Some(stack) => Ok(stack),
            None => Stack::new(),
        }
    }

    pub(super) fn keep(self) {
        KEPT.with(|kept| kept.set(Some(self)));
    }

    fn new() -> Result<Stack, Errno> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), STACK_BYTES, prot, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let stack = Stack { base };
        // SAFETY: the first page of the mapping just made; nothing uses it.
        if unsafe { libc::mprotect(base, 4096, libc::PROT_NONE) } != 0 {
            return Err(last_errno());
        }
        Ok(stack)
    }

    pub(super) fn top(&self) -> *mut libc::c_void {
        self.base.wrapping_byte_add(STACK_BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no task runs on it: it was waited for.
        unsafe { libc::munmap(self.base, STACK_BYTES) };
    }
}
