//! Keeping idle processors awake for the moment of an injection.
//!
//! Tracer and tracee take turns; where a turn goes to another processor that is halted, waking it
//! takes longer than all the rest: on an idle virtual machine a target stands still for 160 µs
//! instead of 25. An administrator may ask the kernel to keep idle processors polling meanwhile
//! (Documentation/power/pm_qos_interface.rst). The request ends with its descriptor, so it cannot
//! outlive us; it is made only where the calls are short.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

/// The request, while it lives. Where it may not be made, nothing.
#[derive(Debug)]
pub(super) struct Awake {
    _request: Option<OwnedFd>,
}

impl Awake {
    pub(super) fn request(wanted: bool) -> Awake {
        Awake {
            _request: wanted.then(open).flatten(),
        }
    }
}

fn open() -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open("/dev/cpu_dma_latency", flags, Mode::empty()).ok()?;
    // No latency at all: the idle loop polls.
    rustix::io::write(&file, &0i32.to_ne_bytes()).ok()?;
    Some(file)
}
