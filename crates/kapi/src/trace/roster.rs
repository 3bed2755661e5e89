//! Who is watched, written down where it outlives the watcher.
//!
//! A program under a seccomp filter of ours needs a tracer: while it has none its specified calls
//! fail with ENOSYS. When the watcher is killed, whoever started it reads here whom to take over.
//!
//! The roster is a file in memory: records of 16 bytes, a thread's number and the time at which it
//! started, so that a number that was used again is told apart. The first record is the program
//! itself. It grows by a record for each new thread or process; once most of them are gone, those
//! that run are written once more behind the rest, and only then is the rest given back.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Context as _;
use mctl_sys::procfs::stat::Stat;
use mctl_sys::syscall_watch::{Tid, Watch};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};

const RECORD: usize = 16;
/// So many records are kept before those of the dead are looked for.
const LEAST: u64 = 4096;

/// The list of watched threads.
#[derive(Debug)]
pub struct Roster {
    file: File,
    /// Where the next record goes.
    end: u64,
    /// Where those begin that are not given back yet.
    begin: u64,
}

/// When a thread was started, in clock ticks after boot (proc_pid_stat(5), field 22).
fn start_time(tid: Tid) -> Option<u64> {
    let text = std::fs::read(format!("/proc/{tid}/stat")).ok()?;
    Stat::parse(&text).ok().map(|stat| stat.starttime)
}

impl Roster {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// No descriptor or memory to be had.
    pub fn new() -> anyhow::Result<Self> {
        let file = memfd_create("kapi-roster", MemfdFlags::CLOEXEC).context("memfd_create")?;
        Ok(Self::over(file.into()))
    }

    fn over(file: File) -> Self {
        Self {
            file,
            end: 0,
            begin: 0,
        }
    }

    /// The one that another process of ours has, by what [`Roster::name`] said there.
    ///
    /// # Errors
    ///
    /// When that one is gone.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        let path = Path::new(name);
        let file = File::options().read(true).write(true).open(path);
        Ok(Self::over(file.with_context(|| name.to_owned())?))
    }

    /// Where another process of ours finds it while this one lives.
    #[must_use]
    pub fn name(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Writes the program itself down.
    pub(super) fn begin(&mut self, main: Tid) -> anyhow::Result<()> {
        self.append(main)?;
        self.begin = self.end;
        Ok(())
    }

    fn append(&mut self, tid: Tid) -> anyhow::Result<()> {
        // One that has ended already needs nobody.
        if let Some(started) = start_time(tid) {
            let mut record = [0u8; RECORD];
            record[..4].copy_from_slice(&tid.to_ne_bytes());
            record[8..].copy_from_slice(&started.to_ne_bytes());
            self.file.write_all_at(&record, self.end)?;
            self.end += RECORD as u64;
        }
        Ok(())
    }

    /// Writes one more down.
    pub(super) fn add(&mut self, tid: Tid, watch: &Watch) -> anyhow::Result<()> {
        self.append(tid)?;
        let records = (self.end - self.begin) / RECORD as u64;
        if records > LEAST && records / 2 > watch.threads() as u64 {
            let old = self.begin..self.end;
            for tid in watch.tids() {
                self.append(tid)?;
            }
            self.begin = old.end;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, flags, old.start, old.end - old.start)?;
        }
        Ok(())
    }

    /// The program, and every thread written down that still runs. `None` where nothing was.
    pub(super) fn read(&self) -> anyhow::Result<Option<(Tid, Vec<Tid>)>> {
        let size = self.file.metadata()?.len();
        let mut main = None;
        let mut threads = BTreeMap::new();
        let mut buffer = vec![0u8; 4096 * RECORD];
        let mut at = 0;
        while at < size {
            let got = self.file.read_at(&mut buffer, at)?;
            if got < RECORD {
                break;
            }
            let whole = got - got % RECORD;
            for record in buffer.get(..whole).unwrap_or_default().chunks_exact(RECORD) {
                let Some((head, started)) = record.split_at_checked(8) else {
                    continue;
                };
                let (Ok(head), Ok(started)) = (head.try_into(), started.try_into()) else {
                    continue;
                };
                let tid = u64::from_ne_bytes(head) & 0xffff_ffff;
                let started = u64::from_ne_bytes(started);
                let Some(tid) = Tid::try_from(tid).ok().filter(|tid| *tid > 0) else {
                    continue;
                };
                main.get_or_insert(tid);
                threads.insert(tid, started);
            }
            at += whole as u64;
        }
        let alive = threads
            .into_iter()
            .filter(|(tid, started)| start_time(*tid) == Some(*started))
            .map(|(tid, _)| tid)
            .collect();
        Ok(main.map(|main| (main, alive)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tid(child: &std::process::Child) -> Tid {
        Tid::try_from(child.id()).unwrap()
    }

    #[test]
    fn the_living_are_found_through_another_descriptor() {
        let mut roster = Roster::new().unwrap();
        assert_eq!(roster.read().unwrap(), None);
        let mut children: Vec<_> = (0..3)
            .map(|_| {
                std::process::Command::new("sleep")
                    .arg("100")
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut there = Roster::open(&roster.name()).unwrap();
        there.begin(tid(&children[0])).unwrap();
        for child in &children[1..] {
            there.append(tid(child)).unwrap();
        }
        let mut all: Vec<Tid> = children.iter().map(tid).collect();
        let main = all[0];
        all.sort_unstable();
        assert_eq!(roster.read().unwrap(), Some((main, all.clone())));
        // A record whose number was used again since: another start.
        let mut record = [0u8; RECORD];
        record[..4].copy_from_slice(&1i32.to_ne_bytes());
        record[8..].copy_from_slice(&u64::MAX.to_ne_bytes());
        roster.file.write_all_at(&record, there.end).unwrap();
        assert_eq!(roster.read().unwrap(), Some((main, all)));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(roster.read().unwrap(), Some((main, Vec::new())));
        roster.end = 0;
    }
}
