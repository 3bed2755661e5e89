//! The border between C and Rust: errno, panics, cancellation.

use std::cell::Cell;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicBool, Ordering};

use ::mctl::{Errno, Error};

use crate::detail;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs the body of an exported function.
///
/// On success errno is what it was before, whatever was called meanwhile. A failure sets errno
/// and the detail and returns `failed`; a panic is a failure with `EIO`.
pub(crate) fn enter<T>(failed: T, body: impl FnOnce() -> Result<T, Error>) -> T {
    let before = errno();
    let uncancelled = Uncancelled::new();
    quiet_panics();
    let was_inside = INSIDE.replace(true);
    detail::clear();
    let result = catch_unwind(AssertUnwindSafe(|| {
        body().map_err(|error| {
            detail::keep(format_args!("{error}"));
            error.errno()
        })
    }));
    INSIDE.set(was_inside);
    drop(uncancelled);
    let (value, number) = match result {
        Ok(Ok(value)) => (value, before),
        Ok(Err(number)) => (failed, number.raw()),
        Err(payload) => {
            // Its destructor could panic in turn.
            std::mem::forget(payload);
            (failed, Errno::EIO.raw())
        }
    };
    set_errno(number);
    value
}

/// A library does not write on its program's stderr: a panic inside a call goes into the detail.
/// Panics of others (a Rust program that links libmctl.a shares the hook) go where they went.
fn quiet_panics() {
    // No std::sync::Once: a child forked while another thread is in it would wait for ever.
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Ordering::Relaxed) || DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let previous = take_hook();
    set_hook(Box::new(move |info| {
        if INSIDE.get() {
            detail::keep(format_args!("a bug in libmctl: {info}"));
        } else {
            previous(info);
        }
    }));
}

fn errno() -> c_int {
    // SAFETY: always a valid pointer to the calling thread's own errno.
    unsafe { *libc::__errno_location() }
}

fn set_errno(number: c_int) {
    // SAFETY: as above; nobody else has it.
    unsafe { *libc::__errno_location() = number }
}

unsafe extern "C" {
    /// pthread_setcancelstate(3).
    safe fn pthread_setcancelstate(state: c_int, before: &mut c_int) -> c_int;
}

/// `PTHREAD_CANCEL_DISABLE`, in glibc and in musl.
const CANCEL_DISABLE: c_int = 1;

/// While it lives the thread is not cancelled (pthread_cancel(3)): that would unwind through Rust
/// frames, and could leave a target stopped.
struct Uncancelled {
    before: c_int,
}

impl Uncancelled {
    fn new() -> Uncancelled {
        let mut before = 0;
        pthread_setcancelstate(CANCEL_DISABLE, &mut before);
        Uncancelled { before }
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        let mut ignored = 0;
        pthread_setcancelstate(self.before, &mut ignored);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn kept() -> String {
        // SAFETY: a C string of this thread, copied before the next call.
        let text = unsafe { CStr::from_ptr(detail::as_c_string()) };
        text.to_string_lossy().into_owned()
    }

    #[test]
    fn errno_is_untouched_on_success_and_set_on_failure() {
        set_errno(77);
        let value = enter(-1, || {
            set_errno(3);
            Ok(5)
        });
        assert_eq!((value, errno()), (5, 77));
        assert_eq!(kept(), "");
        let value = enter(-1, || {
            Err(Error::Invalid {
                why: "0 is no action".to_owned(),
            })
        });
        assert_eq!((value, errno()), (-1, Errno::EINVAL.raw()));
        assert_eq!(kept(), "0 is no action (EINVAL)");
    }

    #[test]
    fn a_panic_is_eio_and_says_so_in_the_detail() {
        let value = enter(-1, || -> Result<i32, Error> { panic!("of a test") });
        assert_eq!((value, errno()), (-1, Errno::EIO.raw()));
        let detail = kept();
        assert!(
            detail.starts_with("a bug in libmctl: ") && detail.contains("of a test"),
            "{detail}"
        );
        assert!(!INSIDE.get());
    }

    #[test]
    fn a_payload_that_panics_on_drop_is_no_way_out() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        let value = enter(-1, || -> Result<i32, Error> { std::panic::panic_any(Bomb) });
        assert_eq!((value, errno()), (-1, Errno::EIO.raw()));
    }

    #[test]
    fn the_state_of_cancellation_is_put_back() {
        let state = || {
            let (mut before, mut again) = (0, 0);
            pthread_setcancelstate(CANCEL_DISABLE, &mut before);
            pthread_setcancelstate(before, &mut again);
            before
        };
        let outside = state();
        assert_eq!(enter(-1, || Ok(state())), CANCEL_DISABLE);
        assert_eq!(state(), outside);
    }
}
