//! What a descriptor of a target is, told from outside: by what its link in /proc says. The descriptor is never
//! taken, nor the file opened. Fit for the shield: no allocation.

use rustix::fs::{AtFlags, FileType, StatxFlags};

use super::files::{descriptor_path, path_of, read_small};
use crate::bounded::may_wait;

/// Kinds of files that can be waited for without a timeout of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A pipe or a FIFO.
    Pipe,
    Eventfd,
    Timerfd,
    Signalfd,
    Inotify,
    Fanotify,
    Userfaultfd,
    /// The daemon's side of a FUSE file system.
    Fuse,
}

impl Kind {
    /// Of a descriptor of a thread. `None`: another kind, or not to be told. A socket is one of those: it may have
    /// a timeout (`SO_RCVTIMEO`), which nothing outside shows, and so is a terminal (`VTIME`, `VMIN`).
    pub(super) fn of(tid: i32, fd: u64) -> Option<Kind> {
        let fd = i32::try_from(fd & 0xffff_ffff).ok()?;
        let mut path = [0u8; 40];
        let path = descriptor_path(tid, fd, &mut path)?;
        let mut buffer = [0u8; 64];
        // What does not fit is a path; only its beginning counts.
        let len =
            may_wait(|| rustix::fs::readlinkat_raw(rustix::fs::CWD, path, &mut buffer[..])).ok()?;
        let link = buffer.get(..len)?;
        if let Some(kind) = by_link(link) {
            return Some(kind);
        }
        (link.first() == Some(&b'/') && is_fifo(path)).then_some(Kind::Pipe)
    }

    // A read of any of them returns what it came for at once, or has taken nothing: each waits before it takes the
    // first byte, and not again.

    /// Whether that is so for several buffers too: the others are read once a buffer, and may wait before the second.
    pub(super) fn is_filled_in_one_go(self) -> bool {
        matches!(
            self,
            Kind::Pipe | Kind::Eventfd | Kind::Timerfd | Kind::Signalfd | Kind::Userfaultfd
        )
    }

    /// A write of so many bytes is done whole, or nothing of it.
    pub(super) fn takes_whole(self, len: u64) -> bool {
        match self {
            Kind::Pipe => len <= libc::PIPE_BUF as u64,
            Kind::Eventfd => true,
            _ => false,
        }
    }
}

fn by_link(link: &[u8]) -> Option<Kind> {
    Some(match link {
        b"anon_inode:[eventfd]" => Kind::Eventfd,
        b"anon_inode:[timerfd]" => Kind::Timerfd,
        b"anon_inode:[signalfd]" => Kind::Signalfd,
        b"anon_inode:inotify" => Kind::Inotify,
        b"anon_inode:[fanotify]" => Kind::Fanotify,
        b"anon_inode:[userfaultfd]" => Kind::Userfaultfd,
        b"/dev/fuse" => Kind::Fuse,
        link if link.starts_with(b"pipe:[") => Kind::Pipe,
        _ => return None,
    })
}

/// The file server is not asked for it: the type of a file does not change.
fn is_fifo(path: &str) -> bool {
    let flags = AtFlags::STATX_DONT_SYNC;
    may_wait(|| rustix::fs::statx(rustix::fs::CWD, path, flags, StatxFlags::TYPE))
        .is_ok_and(|stat| FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::Fifo)
}

/// Whether the thread's personality keeps the kernel from writing back what remains of a timeout.
pub(super) fn sticky_timeouts(tid: i32) -> bool {
    const STICKY_TIMEOUTS: u32 = 0x0400_0000;
    let (mut path, mut buffer) = ([0u8; 40], [0u8; 32]);
    path_of(tid, "personality", &mut path)
        .and_then(|path| read_small(path, &mut buffer).ok())
        .and_then(|text| u32::from_str_radix(std::str::from_utf8(text).ok()?.trim(), 16).ok())
        .is_none_or(|personality| personality & STICKY_TIMEOUTS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_tell() {
        for (link, kind) in [
            (&b"pipe:[123]"[..], Some(Kind::Pipe)),
            (b"anon_inode:[eventfd]", Some(Kind::Eventfd)),
            (b"anon_inode:inotify", Some(Kind::Inotify)),
            (b"socket:[77]", None),
            (b"/dev/pts/3", None),
            (b"/tmp/pipe:[1]", None),
            (b"anon_inode:[io_uring]", None),
            (b"", None),
        ] {
            assert_eq!(by_link(link), kind);
        }
    }

    #[test]
    fn of_our_own_descriptors() {
        let own = i32::try_from(std::process::id()).unwrap();
        let of = |file: &dyn std::os::fd::AsRawFd| {
            Kind::of(own, u64::from(file.as_raw_fd().unsigned_abs()))
        };
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(of(&reader), Some(Kind::Pipe));
        let zero = std::fs::File::open("/dev/zero").unwrap();
        assert_eq!(of(&zero), None);
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(of(&one), None);
        let dir = std::env::temp_dir().join(format!("mctl-fifo-{own}"));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &dir, FileType::Fifo, mode, 0).unwrap();
        let fifo = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&dir);
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(of(&fifo.unwrap()), Some(Kind::Pipe));
        assert_eq!(Kind::of(own, 1_000_000), None);
        assert!(!sticky_timeouts(own));
        assert!(sticky_timeouts(-1), "nobody knows");
    }
}
