//! What the C ABI costs over the Rust library: the same call through libmctl.so and directly, in
//! turns in one run. The promise: at most 100 ns.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Instant;

type Call = unsafe extern "C" fn(c_int, c_int, c_uint) -> c_int;

const PIDFD_SELF: i32 = mctl_abi::PIDFD_SELF;
const GET: i32 = mctl_abi::Action::GetPolicy.number();
const ROUNDS: usize = 41;

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

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
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
        ("EINVAL", PIDFD_SELF, 0, 200_000u32),
        ("EBADF", -1, GET, 200_000),
        ("GET_POLICY of oneself", PIDFD_SELF, GET, 4_000),
    ] {
        let count = (count / count_scale).max(2);
        let (mut through_c, mut through_rust, mut extra) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let rust = time(count, || {
                let _ = black_box(mctl::mctl(black_box(pidfd), black_box(action), 0));
            });
            let c = time(count, || {
                // SAFETY: three integers.
                black_box(unsafe { c(black_box(pidfd), black_box(action), 0) });
            });
            through_rust.push(rust);
            through_c.push(c);
            extra.push(c - rust);
        }
        let extra = median(extra);
        println!(
            "{name:<24} Rust {:>9.1} ns   C {:>9.1} ns   more {extra:>7.1} ns (promised: 100)",
            median(through_rust),
            median(through_c),
        );
        kept &= extra <= 100.0 || count_scale != 1;
    }
    if kept {
        ExitCode::SUCCESS
    } else {
        eprintln!("the C ABI costs more than promised");
        ExitCode::FAILURE
    }
}
