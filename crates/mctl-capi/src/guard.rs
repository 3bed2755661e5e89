//! The border between C and Rust: errno, panics, cancellation.

use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicBool, Ordering};

use ::mctl::{Errno, Error};

use crate::detail::Detail;

/// What is kept for each thread. It has no destructor, so it serves until a thread's very end.
struct Own {
    /// Whether the thread is inside a call.
    inside: Cell<bool>,
    detail: Detail,
}

thread_local! {
    static OWN: Own = const {
        Own {
            inside: Cell::new(false),
            detail: Detail::new(),
        }
    };
}

/// The detail of the calling thread. It lives as long as the thread.
pub(crate) fn detail() -> *const c_char {
    OWN.with(|own| own.detail.as_c_string())
}

/// Runs the body of an exported function.
///
/// On success errno is what it was before, whatever was called meanwhile. A failure sets errno
/// and the detail and returns `failed`; a panic is a failure with `EIO`. A body that makes system
/// calls holds an [`Uncancelled`] meanwhile.
pub(crate) fn enter<T>(failed: T, body: impl FnOnce(&Detail) -> Result<T, Error>) -> T {
    let before = errno();
    quiet_panics();
    let result = OWN.with(|own| {
        let was_inside = own.inside.replace(true);
        own.detail.clear();
        let result = catch_unwind(AssertUnwindSafe(|| {
            // A thread may have as little as 16 KiB.
            ::mctl::with_room(|| body(&own.detail)).map_err(|error| {
                own.detail.keep(format_args!("{error}"));
                error.errno()
            })
        }));
        own.inside.set(was_inside);
        result
    });
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
        let ours = OWN.with(|own| {
            let inside = own.inside.get();
            if inside {
                own.detail.keep(format_args!("a bug in libmctl: {info}"));
            }
            inside
        });
        if !ours {
            previous(info);
        }
    }));
}

fn errno() -> c_int {
    // SAFETY: no argument, no failure.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: always a valid pointer, to the calling thread's own errno.
    unsafe { *errno }
}

fn set_errno(number: c_int) {
    // SAFETY: as above.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above; nobody else has it.
    unsafe { *errno = number }
}

unsafe extern "C" {
    /// pthread_setcancelstate(3).
    safe fn pthread_setcancelstate(state: c_int, before: &mut c_int) -> c_int;
}

/// `PTHREAD_CANCEL_DISABLE`, in glibc and in musl.
const CANCEL_DISABLE: c_int = 1;

/// While it lives the thread is not cancelled (pthread_cancel(3)): that would unwind through Rust
/// frames, and could leave a target stopped.
pub(crate) struct Uncancelled {
    before: c_int,
}

impl Uncancelled {
    /// From here on. Arguments are better checked before: it costs as much as all the rest.
    pub(crate) fn new() -> Uncancelled {
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
        let text = unsafe { CStr::from_ptr(detail()) };
        text.to_string_lossy().into_owned()
    }

    #[test]
    fn errno_is_untouched_on_success_and_set_on_failure() {
        set_errno(77);
        let value = enter(-1, |_| {
            set_errno(3);
            Ok(5)
        });
        assert_eq!((value, errno()), (5, 77));
        assert_eq!(kept(), "");
        let value = enter(-1, |_| {
            Err(Error::Invalid {
                why: "0 is no action".to_owned(),
            })
        });
        assert_eq!((value, errno()), (-1, Errno::EINVAL.raw()));
        assert_eq!(kept(), "0 is no action (EINVAL)");
    }

    #[test]
    fn a_panic_is_eio_and_says_so_in_the_detail() {
        let value = enter(-1, |_| -> Result<i32, Error> { panic!("of a test") });
        assert_eq!((value, errno()), (-1, Errno::EIO.raw()));
        let detail = kept();
        assert!(
            detail.starts_with("a bug in libmctl: ") && detail.contains("of a test"),
            "{detail}"
        );
        assert!(!OWN.with(|own| own.inside.get()));
    }

    #[test]
    fn a_payload_that_panics_on_drop_is_no_way_out() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        let value = enter(-1, |_| -> Result<i32, Error> {
            std::panic::panic_any(Bomb)
        });
        assert_eq!((value, errno()), (-1, Errno::EIO.raw()));
    }

    #[test]
    fn each_thread_has_its_own_detail() {
        let fail = |why: &str| {
            enter(-1, |_| -> Result<i32, Error> {
                Err(Error::Invalid {
                    why: why.to_owned(),
                })
            })
        };
        fail("mine");
        std::thread::spawn(move || {
            assert_eq!(kept(), "");
            fail("theirs");
        })
        .join()
        .unwrap();
        assert_eq!(kept(), "mine (EINVAL)");
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
        let inside = enter(-1, |_| {
            let _uncancelled = Uncancelled::new();
            Ok(state())
        });
        assert_eq!(inside, CANCEL_DISABLE);
        assert_eq!(state(), outside);
    }
}
