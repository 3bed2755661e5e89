//! Where in a target's own text a task ends itself: the place at which a carrier stands.
//!
//! Every C library has it (the end of a thread, `_exit`), and so has every program without one. It is
//! looked for in the mappings of files, once a file: the place in it is kept.

use std::collections::HashMap;
use std::sync::Mutex;

use mctl_abi::Errno;
use memchr::memmem;

use crate::arch::{Arch, Native};
use crate::bounded::{self, ProcFile};
use crate::inject::error::{InjectError, Refusal};
use crate::inject::files::reading_thread;
use crate::procfs::maps::MapsReader;
use crate::ptrace::carried::Gadget;
use crate::raw::vm::read_memory;

/// The text of one mapping that is looked at.
const MOST: u64 = 256 << 20;
const CHUNK: usize = 1 << 20;
/// So many files are remembered.
const FILES: usize = 512;

/// A part of a file: device, inode, and where the part begins.
type File = (u32, u32, u64, u64);
/// Where in a file, and which of the gadgets. `None`: nowhere in this part.
type Found = Option<(u64, usize)>;

static FOUND: Mutex<Option<HashMap<File, Found>>> = Mutex::new(None);

struct Text {
    start: u64,
    end: u64,
    offset: u64,
    file: File,
}

/// Finds one, by a live thread of the target. Its text may have to come from a file system that does not
/// answer: all reading is bounded.
pub(super) fn find(pid: i32, tid: i32) -> Result<Gadget, InjectError> {
    let mut texts = texts(pid, tid)?;
    // Small ones first: what a program is linked with is smaller than a virtual machine.
    texts.sort_by_key(|text| text.end - text.start);
    for text in &texts {
        if let Some(Some((offset, which))) = known(text.file)
            && let Some(gadget) = place(text, offset, which)
            && bounded::run(|| is_there(tid, gadget, which))?
        {
            return Ok(gadget);
        }
    }
    let mut buffer = vec![0u8; CHUNK];
    for text in &texts {
        if known(text.file) == Some(None) {
            continue;
        }
        // Not to be read in time. The rest may be of better files, but the time is up.
        let Ok(found) = bounded::run(|| search(tid, text, &mut buffer))? else {
            continue;
        };
        let offset = found.map(|(at, which)| (at - text.start + text.offset, which));
        remember(text.file, offset);
        if let Some((at, which)) = found {
            return Ok(gadget_at(at, which));
        }
    }
    Err(Refusal::NoExitInstructions.into())
}

fn texts(pid: i32, tid: i32) -> Result<Vec<Text>, InjectError> {
    let path = format!("/proc/{pid}/task/{tid}/maps");
    let file = ProcFile::open(path).map_err(|e| {
        reading_thread(
            pid,
            tid,
            Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)),
        )
    })?;
    let mut texts = Vec::new();
    MapsReader::new(file)
        .each_line(|line| {
            if line.perms.exec && line.perms.read && line.inode != 0 {
                texts.push(Text {
                    start: line.start,
                    end: line.end.min(line.start.saturating_add(MOST)),
                    offset: line.offset,
                    file: (line.dev.major, line.dev.minor, line.inode, line.offset),
                });
            }
        })
        .map_err(|_| InjectError::Os {
            step: "reading /proc/PID/maps",
            errno: Errno::EIO,
        })?;
    Ok(texts)
}

/// Outer `None`: not looked at yet.
fn known(file: File) -> Option<Found> {
    // Never waited for: a fork may have left the thread behind that has it.
    let found = FOUND.try_lock().ok()?;
    found.as_ref()?.get(&file).copied()
}

fn remember(file: File, at: Found) {
    let Ok(mut found) = FOUND.try_lock() else {
        return;
    };
    let map = found.get_or_insert_default();
    if map.len() >= FILES {
        map.clear();
    }
    map.insert(file, at);
}

fn gadget_at(start: u64, which: usize) -> Gadget {
    let (len, number) = Native::EXIT_GADGETS
        .get(which)
        .map_or((0, 0), |(gadget, number)| (gadget.len(), *number));
    Gadget {
        start,
        end: start + len as u64,
        number,
    }
}

/// Where an offset of the file is mapped, if this mapping has it.
fn place(text: &Text, offset: u64, which: usize) -> Option<Gadget> {
    let at = text.start.checked_add(offset.checked_sub(text.offset)?)?;
    let gadget = gadget_at(at, which);
    (gadget.end <= text.end).then_some(gadget)
}

/// Whether the bytes are there now: what was found in a file may be of another one by now, and its page
/// has to be there before a thread is stopped.
fn is_there(tid: i32, gadget: Gadget, which: usize) -> bool {
    let Some((wanted, _)) = Native::EXIT_GADGETS.get(which) else {
        return false;
    };
    let mut bytes = [0u8; 16];
    bytes.get_mut(..wanted.len()).is_some_and(|bytes| {
        read_memory(tid, gadget.start, bytes) == Ok(wanted.len()) && bytes == *wanted
    })
}

/// An error says nothing about the file.
fn search(tid: i32, text: &Text, buffer: &mut [u8]) -> Result<Found, Errno> {
    let longest = Native::EXIT_GADGETS
        .iter()
        .map(|(gadget, _)| gadget.len())
        .max()
        .unwrap_or(0);
    let mut at = text.start;
    while at < text.end {
        let want =
            usize::try_from(text.end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let len = read_memory(tid, at, buffer.get_mut(..want).unwrap_or_default())?;
        let bytes = buffer.get(..len).unwrap_or_default();
        let found = Native::EXIT_GADGETS
            .iter()
            .enumerate()
            .filter_map(|(which, (gadget, _))| Some((memmem::find(bytes, gadget)?, which)))
            .min();
        if let Some((index, which)) = found {
            return Ok(Some((at + index as u64, which)));
        }
        if len < want {
            return Err(Errno::EFAULT);
        }
        // What may begin at the end of this chunk is looked at with the next.
        at += if len as u64 == text.end - at {
            len as u64
        } else {
            len.saturating_sub(longest).max(1) as u64
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn found_in_ourselves_and_there() {
        let pid = i32::try_from(std::process::id()).unwrap();
        for _ in 0..2 {
            let gadget = find(pid, pid).unwrap();
            let mut bytes = [0u8; 16];
            let len = usize::try_from(gadget.end - gadget.start).unwrap();
            assert_eq!(read_memory(pid, gadget.start, &mut bytes[..len]), Ok(len));
            let known = |(known, _): &(&[u8], u64)| *known == &bytes[..len];
            assert!(Native::EXIT_GADGETS.iter().any(known));
        }
    }

    #[test]
    fn an_offset_has_its_place_in_its_mapping_only() {
        let text = Text {
            start: 0x1000,
            end: 0x3000,
            offset: 0x10_0000,
            file: (0, 0, 1, 0x10_0000),
        };
        let start = |offset| place(&text, offset, 0).map(|gadget| gadget.start);
        assert_eq!(start(0x10_0000), Some(0x1000));
        assert_eq!(start(0x10_1ff0), Some(0x2ff0));
        assert_eq!(start(0x10_1fff), None, "cut off");
        assert_eq!(start(0xf_ffff), None);
    }
}
