//! Our own limit on open files: every process that is acted on is held by a descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// So few processes fit any limit.
const FEW: usize = 16;

/// Raises our soft limit to the hard one where many descriptors may be needed. Where that fails,
/// opening a process will say so.
pub(crate) fn open_files_for(processes: usize, groups: bool) {
    if processes <= FEW && !groups {
        return;
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}
