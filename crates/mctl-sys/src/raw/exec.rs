//! execvp(3) in place, as nice(1) and env(1) do it: the program gets our signal dispositions and
//! mask as we got them.
//!
//! `std::process::Command::exec` would not do: Rust ignores SIGPIPE at its start, and that function
//! then sets it to its default and empties the signal mask. A service that its manager starts with
//! SIGPIPE ignored (systemd does, unless told otherwise) would suddenly die of a closed connection.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use mctl_abi::Errno;

use super::last_errno;

/// Whether SIGPIPE was ignored when this process started, before Rust changed it.
static SIGPIPE_IGNORED: AtomicBool = AtomicBool::new(false);

/// Runs before `main`, and before the standard library's own preparations.
extern "C" fn look_at_sigpipe() {
    // SAFETY: all-zero is a valid sigaction to be overwritten.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks; `now` is ours to write.
    let asked = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut now) };
    if asked == 0 && now.sa_sigaction == libc::SIG_IGN {
        SIGPIPE_IGNORED.store(true, Ordering::Relaxed);
    }
}

// SAFETY: the section holds pointers to functions without arguments, called once at start-up; this
// one calls nothing that needs to be set up first.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = look_at_sigpipe;

/// Executes a program in place of this one. Returns only where that failed.
///
/// A program without a slash is looked for in `PATH`. The environment is ours. Meant for a process with one
/// thread: until it has failed, the kernel refuses others of the process a new thread (`EAGAIN`).
///
/// # References
/// execvp(3).
#[must_use]
pub fn exec_in_place(program: &OsStr, arguments: &[&OsStr]) -> Errno {
    let c_string = |word: &OsStr| CString::new(word.as_bytes());
    let Ok(file) = c_string(program) else {
        return Errno::EINVAL;
    };
    let words: Result<Vec<CString>, _> = std::iter::once(program)
        .chain(arguments.iter().copied())
        .map(c_string)
        .collect();
    let Ok(words) = words else {
        return Errno::EINVAL;
    };
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let before = if SIGPIPE_IGNORED.load(Ordering::Relaxed) {
        libc::SIG_IGN
    } else {
        libc::SIG_DFL
    };
    // SAFETY: a disposition, no handler of ours.
    let ours = unsafe { libc::signal(libc::SIGPIPE, before) };
    // SAFETY: `file` and every element of `pointers` are strings that end in NUL and live until
    // the call returns; the list ends in a null pointer.
    unsafe { libc::execvp(file.as_ptr(), pointers.as_ptr()) };
    let errno = last_errno();
    // SAFETY: the disposition that stood before.
    unsafe { libc::signal(libc::SIGPIPE, ours) };
    errno
}
