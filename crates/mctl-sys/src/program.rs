//! Executables that a process with several threads writes and then starts.
//!
//! execve(2) refuses a file that anybody has open for writing (`ETXTBSY`). A thread that forks while
//! another writes such a file gives its child the descriptor, until the child's own exec closes it:
//! the file can then be busy though its writer closed it long ago. So the file is written by a thread
//! with a table of descriptors of its own (unshare(2), `CLONE_FILES`), which no fork of another thread
//! copies. Where unshare(2) is not allowed, it is written all the same and can be busy for a moment.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Writes a new executable. `mode` is its permission bits, whatever the umask is.
///
/// # Errors
///
/// That of the open(2), write(2) or chmod(2) that failed; `EEXIST` if something is there already.
pub fn write_program(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    alone(|| create(path, mode, &mut &*bytes))
}

/// Copies an executable to a new file. `mode` is its permission bits, whatever the umask is.
///
/// # Errors
///
/// That of the open(2), read(2), write(2) or chmod(2) that failed; `EEXIST` if something is there
/// already.
pub fn copy_program(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    alone(|| create(to, mode, &mut std::fs::File::open(from)?))
}

fn create(path: &Path, mode: u32, content: &mut dyn io::Read) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    io::copy(content, &mut file)?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// Runs something that opens and closes files in a thread whose descriptors no fork copies.
fn alone(write: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            // SAFETY: the danger of an own table is a descriptor that is used on its other side. Nothing of
            // what this thread opens leaves it (it returns no descriptor), it closes none that was open
            // before, and those are open in its table as well.
            let _ = unsafe { unshare_unsafe(UnshareFlags::FILES) };
            write()
        })?;
        thread
            .join()
            .map_err(|_| io::Error::other("the thread that writes an executable panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    const PAUSE: rustix::time::Timespec = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 3_000_000,
    };

    /// Forks all the while; each child keeps what it was given until its exec.
    fn forking(stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let mut command = Command::new("/bin/true");
            // With a closure to run in the child it is a fork of everything, not a short vfork.
            // SAFETY: nothing is done but a sleep, which is async-signal-safe.
            unsafe {
                command.pre_exec(|| {
                    let _ = rustix::thread::nanosleep(&PAUSE);
                    Ok(())
                });
            }
            command.status().expect("started");
        }
    }

    #[test]
    fn what_was_written_can_be_started_at_once() {
        let dir = tempfile::tempdir().expect("made");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| forking(&stop));
            }
            let _ends = mctl_testkit::SetOnDrop(&stop);
            for round in 0..60 {
                let path = dir.path().join(round.to_string());
                copy_program(Path::new("/bin/true"), &path, 0o755).expect("copied");
                let status = Command::new(&path).status().expect("not busy");
                assert!(status.success(), "{status}");
            }
        });
    }

    #[test]
    fn modes_and_errors() {
        let dir = tempfile::tempdir().expect("made");
        let path = dir.path().join("program");
        write_program(&path, b"#!/bin/sh\nexit 7\n", 0o4751).expect("written");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o4751);
        assert_eq!(Command::new(&path).status().expect("runs").code(), Some(7));
        let again = write_program(&path, b"", 0o755).expect_err("it is there");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let none = copy_program(&dir.path().join("none"), &dir.path().join("copy"), 0o755);
        assert_eq!(none.expect_err("no source").kind(), io::ErrorKind::NotFound);
    }
}
