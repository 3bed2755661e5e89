//! What a carrier is called, so that whoever counts processes by name does not count it.
//!
//! A name can be given from a string in the target's memory only, and nothing is written there. The
//! vDSO has one that no program has: its own.

use memchr::memmem;

use crate::bounded;
use crate::inject::files::read_small;
use crate::inject::vdso;
use crate::procfs::auxv::{AT_SYSINFO_EHDR, Auxv};
use crate::raw::ids::shares_address_space;
use crate::raw::vm::read_memory;
use crate::remembered::Remembered;

/// The name of a carrier, as the kernel cuts names: 15 bytes.
pub const NAME: &[u8] = b"linux-vdso.so.1";

/// The vDSO is one or two pages.
const IMAGE: usize = 8192;
/// So many threads are asked for their children.
const TASKS: usize = 1024;

fn base(path: &str) -> Option<u64> {
    let mut buffer = [0u8; 1024];
    let auxv = Auxv::parse(read_small(path, &mut buffer).ok()?).ok()?;
    auxv.get(AT_SYSINFO_EHDR).filter(|base| *base != 0)
}

/// Where the string stands in the vDSO image of this kernel.
fn offset() -> Option<u64> {
    static OFFSET: Remembered<Option<u64>> = Remembered::new();
    OFFSET.get_or_find(|| {
        let mut image = vec![0u8; IMAGE];
        let len = read_memory(bounded::our_pid(), base("/proc/self/auxv")?, &mut image).ok()?;
        let image = image.get(..len)?;
        let terminated =
            memmem::find_iter(image, NAME).find(|at| image.get(at + NAME.len()) == Some(&0))?;
        u64::try_from(terminated).ok()
    })
}

/// The address of the string in the target, where it has it. What else lies where the vDSO was is not read,
/// and the looking has its bound: a program may map memory there that nobody will ever serve.
pub(super) fn address(pid: i32, tid: i32) -> Option<u64> {
    bounded::run(|| address_once(pid, tid)).ok().flatten()
}

fn address_once(pid: i32, tid: i32) -> Option<u64> {
    let at = base(&format!("/proc/{pid}/task/{tid}/auxv"))?.checked_add(offset()?)?;
    if !vdso::is_at(pid, tid, at) {
        return None;
    }
    let mut bytes = [0u8; NAME.len() + 1];
    let there = read_memory(tid, at, &mut bytes) == Ok(bytes.len());
    (there && bytes.starts_with(NAME) && bytes.ends_with(&[0])).then_some(at)
}

/// Whether a process is a carrier of ours: it has the name, and the memory of its parent. (A program
/// that gives itself the name and shares its parent's memory is what its parent is.)
#[must_use]
pub fn is_carrier(pid: i32) -> bool {
    match state_and_parent(pid) {
        Some((b'Z', _)) => true,
        Some((_, parent)) => shares_address_space(parent, pid) == Ok(true),
        None => false,
    }
}

/// Of a process with a carrier's name.
fn state_and_parent(pid: i32) -> Option<(u8, i32)> {
    let mut buffer = [0u8; 32];
    let name = read_small(&format!("/proc/{pid}/comm"), &mut buffer).ok()?;
    if name.trim_ascii_end() != NAME {
        return None;
    }
    let mut buffer = [0u8; 512];
    let stat = read_small(&format!("/proc/{pid}/stat"), &mut buffer).ok()?;
    // PID (NAME) STATE PPID …; the name may hold anything.
    let after = memmem::rfind(stat, b")").and_then(|at| stat.get(at + 2..))?;
    let mut words = after.split(|byte| *byte == b' ');
    let state = *words.next()?.first()?;
    let parent = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    Some((state, parent))
}

/// Carriers of a process that have ended and were not waited for, because whoever kept them was killed:
/// their numbers in the process's own PID namespace.
pub(super) fn ended_children(pid: i32) -> Vec<i64> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for task in tasks.flatten().take(TASKS) {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let children = text.split_whitespace().filter_map(|word| word.parse().ok());
        for child in children {
            if matches!(state_and_parent(child), Some((b'Z', parent)) if parent == pid) {
                found.extend(own_number(child, pid));
            }
        }
    }
    found
}

/// The number of a process in the PID namespace of another one that is its parent.
fn own_number(child: i32, parent: i32) -> Option<i64> {
    let numbers = |pid: i32| -> Option<Vec<i64>> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        line.split_whitespace()
            .map(|word| word.parse().ok())
            .collect()
    };
    // As deep as the parent, which lives in the child's own namespace.
    let depth = numbers(parent)?.len();
    numbers(child)?.get(depth.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_string_is_there_and_we_are_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(address(own, own).is_some());
        assert!(!is_carrier(own));
        assert!(!is_carrier(i32::MAX));
    }
}
