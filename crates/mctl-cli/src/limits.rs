//! Our own limits: on open files, by one of which every process is held that is acted on, and on the size of files.

use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::AtomicBool;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::SIGXFSZ;

/// So few processes fit a limit that is not unusually low.
const FEW: usize = 16;
const LOW: u64 = 64;

/// Raises our soft limit to the hard one where many descriptors may be needed. Where that fails,
/// opening a process will say so.
pub(crate) fn open_files_for(processes: usize, groups: bool) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let is_low = current.is_some_and(|most| most < LOW);
    if processes <= FEW && !groups && !is_low {
        return;
    }
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}

/// Has a write beyond RLIMIT_FSIZE (`ulimit -f`) fail, which is reported, in place of ending this program by
/// SIGXFSZ. A program that is executed gets the signal's default back.
pub(crate) fn writes_fail() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let nobody = Arc::new(AtomicBool::new(false));
        // Where it cannot be had, the signal ends us, as it would anybody.
        let _ = signal_hook::flag::register(SIGXFSZ, nobody);
    });
}
