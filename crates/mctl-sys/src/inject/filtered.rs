//! Whether a thread has a seccomp filter, asked while it stands still. Runs in the shield: no allocation.

use super::files::path_of;

const LINE: &[u8] = b"\nSeccomp:\t";

/// Whether system calls of this thread may be filtered. Where that cannot be told they may.
pub(crate) fn may_be_filtered(tid: i32) -> bool {
    mode(tid) != Some(b'0')
}

/// The first digit of the mode in proc_pid_status(5); 0 on a kernel that has no such line.
fn mode(tid: i32) -> Option<u8> {
    let mut path = [0u8; 40];
    let path = path_of(tid, "status", &mut path)?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()?;
    let mut buffer = [0u8; 4096];
    mode_in(&mut buffer, |part| rustix::io::read(&file, part).ok())
}

/// Reads to the line, or to the end. The line of supplementary groups alone may be longer than any buffer.
fn mode_in(buffer: &mut [u8], mut read: impl FnMut(&mut [u8]) -> Option<usize>) -> Option<u8> {
    let mut kept = 0;
    loop {
        let len = read(buffer.get_mut(kept..).filter(|part| !part.is_empty())?)?;
        let text = buffer.get(..kept + len)?;
        if let Some(at) = text.windows(LINE.len()).position(|part| part == LINE)
            && let Some(digit) = text.get(at + LINE.len())
        {
            return Some(*digit);
        }
        if len == 0 {
            return Some(b'0');
        }
        // What may be the beginning of the line, and its digit.
        let keep = text.len().min(LINE.len());
        let from = text.len() - keep;
        buffer.copy_within(from..from + keep, 0);
        kept = keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_thread() {
        // SAFETY: no arguments.
        let own = unsafe { libc::gettid() };
        let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Seccomp:\t"));
        let wanted = line.is_some_and(|mode| mode != "0");
        assert_eq!(may_be_filtered(own), wanted);
        assert!(may_be_filtered(i32::MAX), "nobody knows");
        assert!(may_be_filtered(-1));
    }

    #[test]
    fn however_it_is_cut() {
        let text = |mode: u8| {
            let groups = "7 ".repeat(3000);
            format!(
                "Name:\tx\nGroups:\t{groups}\nNoNewPrivs:\t1\nSeccomp:\t{mode}\nSeccomp_filters:\t1\n"
            )
        };
        for size in [LINE.len() + 1, 16, 17, 64, 4096] {
            for most in [1, 3, 4096] {
                for (mode, wanted) in [(0, b'0'), (2, b'2')] {
                    let text = text(mode);
                    let mut rest = text.as_bytes();
                    let mut buffer = vec![0; size];
                    let found = mode_in(&mut buffer, |part| {
                        let len = part.len().min(rest.len()).min(most);
                        part[..len].copy_from_slice(&rest[..len]);
                        rest = &rest[len..];
                        Some(len)
                    });
                    assert_eq!(found, Some(wanted), "{size} {most}");
                }
            }
        }
        assert_eq!(
            mode_in(&mut [0; 64], |_| Some(0)),
            Some(b'0'),
            "no such line"
        );
        assert_eq!(mode_in(&mut [0; 64], |_| None), None);
    }
}
