//! Looking at a process from outside, through /proc.

use std::fs::File;
use std::os::unix::fs::FileExt;

use mctl_model::{Image, Region, VmFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::backend::Trouble;
use crate::call::Life;
use crate::view::{ARENA, Span, View, comparable};

/// Whether a task lives.
pub(super) fn life(tid: u32) -> Life {
    let Ok(stat) = std::fs::read(format!("/proc/{tid}/stat")) else {
        return Life::Gone;
    };
    // The state follows the name, which is in parentheses and may hold any byte.
    let after = stat.iter().rposition(|byte| *byte == b')');
    match after.and_then(|at| stat.get(at + 2)) {
        Some(b'Z') => Life::Zombie,
        Some(b'X') | None => Life::Gone,
        Some(_) => Life::Alive,
    }
}

/// The files of one task that are read again and again.
#[derive(Debug, Default)]
pub(super) struct Reader {
    smaps: Option<File>,
    status: Option<File>,
    buffer: Vec<u8>,
}

impl Reader {
    /// After an exec the files are those of the old image.
    pub(super) fn forget(&mut self) {
        self.smaps = None;
        self.status = None;
    }

    /// The mappings inside the arena, or with `everywhere` all.
    pub(super) fn view(&mut self, tid: u32, everywhere: bool) -> Result<View, Trouble> {
        let file = match &mut self.smaps {
            Some(file) => file,
            slot => slot.insert(open(tid, "smaps")?),
        };
        let buffer = &mut self.buffer;
        buffer.clear();
        let mut view = View::default();
        let mut parser = Smaps::default();
        let mut parsed = 0;
        loop {
            let have = buffer.len();
            buffer.resize(have + (16 << 10), 0);
            let tail = buffer.get_mut(have..).unwrap_or_default();
            let offset = u64::try_from(have).unwrap_or(u64::MAX);
            let got = file.read_at(tail, offset).map_err(Trouble::broken)?;
            buffer.truncate(have + got);
            let fresh = buffer.get(parsed..).unwrap_or_default();
            let whole = memchr::memrchr(b'\n', fresh).map_or(0, |at| at + 1);
            for line in fresh
                .get(..whole)
                .unwrap_or_default()
                .split(|b| *b == b'\n')
            {
                parser.line(line, |mapping| {
                    if everywhere || ARENA.contains(&mapping.span.start) {
                        view.push(mapping.span);
                    }
                });
            }
            parsed += whole;
            if got == 0 || (!everywhere && parser.start >= ARENA.end) {
                return Ok(view);
            }
        }
    }

    /// `VmLck` in bytes, and `THP_enabled`.
    pub(super) fn status(&mut self, tid: u32) -> Result<(u64, bool), Trouble> {
        let file = match &mut self.status {
            Some(file) => file,
            slot => slot.insert(open(tid, "status")?),
        };
        self.buffer.resize(8 << 10, 0);
        let got = file.read_at(&mut self.buffer, 0).map_err(Trouble::broken)?;
        let mut locked = None;
        let mut enabled = None;
        let text = self.buffer.get(..got).unwrap_or_default();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(rest) = line.strip_prefix(b"VmLck:") {
                locked = Some(number(rest) << 10);
            } else if let Some(rest) = line.strip_prefix(b"THP_enabled:") {
                enabled = Some(number(rest) != 0);
            }
        }
        match (locked, enabled) {
            (Some(locked), Some(enabled)) => Ok((locked, enabled)),
            _ => Err(Trouble::broken("the status lacks VmLck or THP_enabled")),
        }
    }
}

fn open(tid: u32, name: &str) -> Result<File, Trouble> {
    File::open(format!("/proc/{tid}/{name}")).map_err(Trouble::broken)
}

/// The first number in decimal.
fn number(text: &[u8]) -> u64 {
    text.iter()
        .skip_while(|byte| !byte.is_ascii_digit())
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |value, digit| {
            value * 10 + u64::from(digit.wrapping_sub(b'0'))
        })
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// One mapping as smaps tells it.
struct Mapping {
    span: Span,
    /// Every flag that the model knows.
    flags: VmFlags,
}

/// Reads smaps line by line.
#[derive(Default)]
struct Smaps {
    start: u64,
    end: u64,
    anon: bool,
    rss: u64,
    huge: u64,
    eligible: bool,
    /// Shared memory: the kernel's own, or the suite's files on tmpfs.
    shmem: bool,
}

impl Smaps {
    fn line(&mut self, line: &[u8], done: impl FnOnce(Mapping)) {
        match line.first() {
            Some(b'0'..=b'9' | b'a'..=b'f') => self.header(line),
            Some(b'R') if line.starts_with(b"Rss:") => self.rss = number(line) << 10,
            Some(b'A') if line.starts_with(b"AnonHugePages:") => self.huge = number(line) << 10,
            Some(b'T') if line.starts_with(b"THPeligible:") => self.eligible = number(line) != 0,
            Some(b'V') if line.starts_with(b"VmFlags:") => {
                let flags = flags(line.get(8..).unwrap_or_default());
                done(Mapping {
                    span: Span {
                        start: self.start,
                        end: self.end,
                        flags: comparable(flags),
                        rss: if self.anon { self.rss } else { 0 },
                        huge: if self.anon { self.huge } else { 0 },
                        eligible: (self.anon || self.shmem) && self.eligible,
                        anon: self.anon,
                    },
                    flags,
                });
            }
            _ => {}
        }
    }

    fn header(&mut self, line: &[u8]) {
        let mut words = line
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty());
        let range = words.next().unwrap_or_default();
        if let Some(dash) = memchr::memchr(b'-', range) {
            self.start = range.get(..dash).and_then(hex).unwrap_or(0);
            self.end = range.get(dash + 1..).and_then(hex).unwrap_or(0);
        }
        let inode = words.nth(3).map_or(0, number);
        let name = words.next().unwrap_or_default();
        let own = name.is_empty() || name == b"[heap]" || name == b"[stack]";
        self.anon = inode == 0 && own;
        self.shmem = [&b"/dev/zero"[..], b"/dev/shm/", b"/memfd:", b"/SYSV"]
            .iter()
            .any(|start| name.starts_with(start));
    }
}

fn flags(text: &[u8]) -> VmFlags {
    text.split(|byte| *byte == b' ')
        .filter_map(|word| std::str::from_utf8(word).ok())
        .filter_map(VmFlags::from_letters)
        .fold(VmFlags::NONE, |all, flag| all | flag)
}

/// What exec mapped for a task, and where its heap is.
pub(super) fn image(tid: u32) -> Result<Image, Trouble> {
    let text = std::fs::read(format!("/proc/{tid}/smaps")).map_err(Trouble::broken)?;
    let mut regions = Vec::new();
    let mut parser = Smaps::default();
    for line in text.split(|byte| *byte == b'\n') {
        parser.line(line, |mapping| {
            regions.push(Region {
                start: mapping.span.start,
                len: mapping.span.end - mapping.span.start,
                flags: mapping.flags,
                special: mapping.flags.any(VmFlags::SPECIAL),
            });
        });
    }
    // [vsyscall] is no mapping of the address space.
    regions.retain(|region| region.start < mctl_model::TASK_SIZE);
    let stat = std::fs::read_to_string(format!("/proc/{tid}/stat")).map_err(Trouble::broken)?;
    // proc_pid_stat(5): start_brk is field 47; the name, field 2, ends at the last parenthesis.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let brk_start = after
        .split_whitespace()
        .nth(44)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| Trouble::broken("the stat file lacks start_brk"))?;
    Ok(Image {
        regions,
        brk_start,
        brk: brk_start,
    })
}

/// The identity of a process that lives: the inode of its pidfds (Linux 6.9).
pub(in crate::backend) fn identity(pid: u32) -> Result<u64, Trouble> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Trouble::broken("0 is no process"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(Trouble::broken)?;
    rustix::fs::fstat(pidfd)
        .map(|stat| stat.st_ino)
        .map_err(Trouble::broken)
}

/// The policy's word in the status file of a patched kernel; `None` where there is no such line.
pub(in crate::backend) fn mctl_line(tid: u32) -> Result<Option<u32>, Trouble> {
    let text = std::fs::read_to_string(format!("/proc/{tid}/status")).map_err(Trouble::broken)?;
    let Some(word) = text.lines().find_map(|line| line.strip_prefix("Mctl:")) else {
        return Ok(None);
    };
    u32::from_str_radix(word.trim().trim_start_matches("0x"), 16)
        .map(Some)
        .map_err(|_| Trouble::Broken(format!("the line Mctl: says {:?}", word.trim())))
}
