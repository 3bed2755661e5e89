//! What the C ABI costs over the Rust library: the same call through libmctl.so and directly, in
//! turns in one run. The promise: at most 100 ns.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Instant;

type Call = unsafe extern "C" fn(c_int, c_int, c_uint) -> c_int;

const PIDFD_SELF: i32 = mctl_abi::PIDFD_SELF;
const GET: i32 = mctl_abi::Action::GetPolicy.number();
const ROUNDS: usize = 201;

/// Builds libmctl.so as this bench is built and loads `mctl` from it.
fn load() -> Option<Call> {
    let exe = std::env::current_exe().ok()?;
    let target = exe
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists())?;
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--lib", "-p", "mctl-capi"])
        .args(["--message-format=json-render-diagnostics", "--target-dir"])
        .arg(target)
        .output()
        .ok()?;
    let messages = String::from_utf8(output.stdout).ok()?;
    let end = messages.rfind("/libmctl.so\"")? + "/libmctl.so".len();
    let start = messages.get(..end)?.rfind('"')? + 1;
    let path = CString::new(messages.get(start..end)?).ok()?;
    let name: *const c_char = c"mctl".as_ptr();
    // SAFETY: a C string; the library's initialisers do nothing.
    let library: *mut c_void = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return None;
    }
    // SAFETY: an open library and a C string.
    let symbol = unsafe { libc::dlsym(library, name) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: mctl has this type; the library is never closed.
    Some(unsafe { std::mem::transmute::<*mut c_void, Call>(symbol) })
}

/// Nanoseconds a call.
fn time(count: u32, mut call: impl FnMut()) -> f64 {
    let begun = Instant::now();
    for _ in 0..count {
        call();
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

/// The least of many rounds: what others on the machine did is not in it.
fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn main() -> ExitCode {
    // `cargo test --benches` only wants to see that it runs.
    let count_scale = if std::env::args().any(|arg| arg == "--bench") {
        1
    } else {
        1000
    };
    let Some(c) = load() else {
        eprintln!("libmctl.so cannot be built or loaded");
        return ExitCode::FAILURE;
    };
    let mut kept = true;
    for (name, pidfd, action, count) in [
        ("EINVAL", PIDFD_SELF, 0, 20_000u32),
        ("EBADF", -1, GET, 20_000),
        ("GET_POLICY of oneself", PIDFD_SELF, GET, 500),
    ] {
        let count = (count / count_scale).max(2);
        let rust = || {
            let _ = black_box(mctl::mctl(black_box(pidfd), black_box(action), 0));
        };
        let through_c = || {
            // SAFETY: three integers.
            black_box(unsafe { c(black_box(pidfd), black_box(action), 0) });
        };
        let (mut c_times, mut rust_times) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            rust_times.push(time(count, rust));
            c_times.push(time(count, through_c));
        }
        let (rust, c) = (least(&rust_times), least(&c_times));
        let extra = c - rust;
        println!("{name:<24} Rust {rust:>8.1} ns   C {c:>8.1} ns   more {extra:>6.1} ns");
        kept &= extra <= 100.0 || count_scale != 1;
    }
    if kept {
        ExitCode::SUCCESS
    } else {
        eprintln!("the C ABI costs more than promised");
        ExitCode::FAILURE
    }
}
