//! Memory that a caller names by a pointer. It is copied the way a system call does: what is not
//! mapped is EFAULT, not a crash.

use std::ffi::c_void;

use ::mctl::advise::Range;
use ::mctl::{Errno, Error};
use mctl_sys::raw::vm::{read_memory, write_own_memory};

/// The most entries of a vector. The kernel takes 1,024; this only keeps a mistaken number from
/// eating the machine's memory.
pub(crate) const MAX_ENTRIES: usize = 1 << 24;

/// So many bytes are copied at a time: on the stack, and a multiple of an entry's size.
const CHUNK: usize = 4096;
const WORD: usize = size_of::<usize>();
const ENTRY: usize = size_of::<libc::iovec>();

fn fault(what: &str) -> Error {
    Error::Read {
        what: what.to_owned(),
        why: "bad address".to_owned(),
        errno: Errno::EFAULT,
    }
}

/// Whether the kernel or a seccomp filter keeps process_vm_readv(2) and process_vm_writev(2) from
/// us. A pointer is then trusted, as by any other function of a C library.
fn cannot_ask(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSYS | Errno::EPERM | Errno::EACCES)
}

/// Copies from the caller.
///
/// # Safety
/// Where [`cannot_ask`] is the kernel's answer, the bytes must be readable. No other thread
/// writes them meanwhile.
pub(crate) unsafe fn copy_in(
    from: *const c_void,
    into: &mut [u8],
    what: &str,
) -> Result<(), Error> {
    let own = i32::try_from(std::process::id()).map_err(|_| fault(what))?;
    match read_memory(own, from.addr() as u64, into) {
        Ok(copied) if copied == into.len() => Ok(()),
        Err(errno) if cannot_ask(errno) && !from.is_null() => {
            // SAFETY: readable, as the caller of this function promises; `into` is ours.
            unsafe { std::ptr::copy_nonoverlapping(from.cast(), into.as_mut_ptr(), into.len()) };
            Ok(())
        }
        _ => Err(fault(what)),
    }
}

/// Copies to the caller.
///
/// # Safety
/// The bytes are the caller's to give away, and where [`cannot_ask`] is the kernel's answer, they
/// must be writable. No other thread uses them meanwhile.
pub(crate) unsafe fn copy_out(from: &[u8], to: *mut c_void, what: &str) -> Result<(), Error> {
    // SAFETY: the bytes are the C caller's, given to be written.
    match unsafe { write_own_memory(to.addr() as u64, from) } {
        Ok(()) => Ok(()),
        Err(errno) if cannot_ask(errno) && !to.is_null() => {
            // SAFETY: writable, as the caller of this function promises.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.cast(), from.len()) };
            Ok(())
        }
        Err(_) => Err(fault(what)),
    }
}

/// A structure of the caller's, whose first field is its size (`uint32_t`).
#[derive(Debug)]
pub(crate) struct Room {
    at: *mut c_void,
    size: usize,
    what: &'static str,
}

/// The largest size that is believed; an uninitialised one is most likely larger.
pub(crate) const LARGEST_SIZE: usize = 4096;

impl Room {
    /// Reads the size and empties the structure: what cannot be written is found out before anything is changed.
    /// `first` is the size of its first version, and no smaller one was ever published.
    ///
    /// # Safety
    /// As [`copy_out`].
    pub(crate) unsafe fn open(
        at: *mut c_void,
        first: usize,
        what: &'static str,
    ) -> Result<Room, Error> {
        // SAFETY: passed on.
        let size = unsafe { size_of_structure(at, first, what) }?;
        let room = Room { at, size, what };
        // SAFETY: passed on.
        unsafe { room.write(&[], size) }?;
        Ok(room)
    }

    /// Fills it with as much as there is room for. What is beyond is 0; the size says how much was filled in.
    ///
    /// # Safety
    /// As [`copy_out`].
    pub(crate) unsafe fn fill(&self, from: &[u8]) -> Result<(), Error> {
        // SAFETY: passed on.
        unsafe { self.write(from, self.size.min(from.len())) }
    }

    unsafe fn write(&self, from: &[u8], filled: usize) -> Result<(), Error> {
        let mut room = [0; LARGEST_SIZE];
        let room = room.get_mut(..self.size).unwrap_or_default();
        let put = |room: &mut [u8], from: &[u8]| {
            room.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        };
        put(room, from);
        put(room, &u32::try_from(filled).unwrap_or(0).to_ne_bytes());
        // SAFETY: passed on.
        unsafe { copy_out(room, self.at, self.what) }
    }
}

/// The size that the caller wrote into a structure.
///
/// # Safety
/// As [`copy_in`].
pub(crate) unsafe fn size_of_structure(
    at: *const c_void,
    first: usize,
    what: &'static str,
) -> Result<usize, Error> {
    let mut size = [0; 4];
    // SAFETY: passed on.
    unsafe { copy_in(at, &mut size, what) }?;
    let size = u32::from_ne_bytes(size) as usize;
    if (first..=LARGEST_SIZE).contains(&size) {
        return Ok(size);
    }
    Err(Error::Invalid {
        why: format!("the size of {what} is {size}: set it to the sizeof the structure"),
    })
}

/// Copies a path.
///
/// # Errors
/// `EFAULT`; `ENAMETOOLONG` no end of it within PATH_MAX bytes.
///
/// # Safety
/// As [`copy_in`].
pub(crate) unsafe fn copy_path(path: *const std::ffi::c_char) -> Result<std::path::PathBuf, Error> {
    use std::os::unix::ffi::OsStringExt;
    const LONGEST: usize = 4096;
    let mut bytes = Vec::new();
    let mut byte = [0];
    while bytes.len() < LONGEST {
        // One at a time: what comes after the end need not be there.
        // SAFETY: passed on.
        unsafe { copy_in(path.wrapping_add(bytes.len()).cast(), &mut byte, "the path") }?;
        match byte {
            [0] => return Ok(std::ffi::OsString::from_vec(bytes).into()),
            [other] => bytes.push(other),
        }
    }
    Err(Error::Read {
        what: "the path".to_owned(),
        why: "longer than PATH_MAX".to_owned(),
        errno: Errno::ENAMETOOLONG,
    })
}

/// Copies a vector.
///
/// # Errors
/// `EFAULT`; `EINVAL` more than [`MAX_ENTRIES`]; `ENOMEM` no room for the copy.
///
/// # Safety
/// As [`copy_in`].
pub(crate) unsafe fn copy_vector(
    vec: *const libc::iovec,
    vlen: usize,
) -> Result<Vec<Range>, Error> {
    if vlen > MAX_ENTRIES {
        return Err(Error::Invalid {
            why: format!("a vector of {vlen} entries: at most {MAX_ENTRIES} are taken"),
        });
    }
    let mut ranges = Vec::new();
    let mut chunk = [0u8; CHUNK];
    let mut done = 0;
    while done < vlen {
        let entries = (vlen - done).min(CHUNK / ENTRY);
        let Some(bytes) = chunk.get_mut(..entries * ENTRY) else {
            break;
        };
        // SAFETY: passed on.
        unsafe { copy_in(vec.wrapping_add(done).cast(), bytes, "the vector") }?;
        // Only now: a bad pointer with a large number must not cost memory.
        ranges.try_reserve(entries).map_err(|_| Error::Read {
            what: "the vector".to_owned(),
            why: "no room for a copy of it".to_owned(),
            errno: Errno::ENOMEM,
        })?;
        ranges.extend(bytes.chunks_exact(ENTRY).map(|entry| {
            let (start, len) = entry.split_at(WORD);
            Range {
                start: word(start),
                len: word(len),
            }
        }));
        done += entries;
    }
    Ok(ranges)
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; WORD];
    word.iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    usize::from_ne_bytes(word) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_every_size_around_the_chunk() {
        for vlen in [0, 1, 2, 255, 256, 257, 512, 1000] {
            let vec: Vec<libc::iovec> = (0..vlen)
                .map(|n| libc::iovec {
                    iov_base: std::ptr::without_provenance_mut(n * 4096),
                    iov_len: n,
                })
                .collect();
            // SAFETY: a vector of this test.
            let ranges = unsafe { copy_vector(vec.as_ptr(), vlen) }.unwrap();
            let wanted: Vec<Range> = (0..vlen as u64)
                .map(|n| Range {
                    start: n * 4096,
                    len: n,
                })
                .collect();
            assert_eq!(ranges, wanted);
        }
    }

    #[test]
    fn bad_pointers_and_numbers() {
        for (at, vlen, errno) in [
            (0usize, 1, Errno::EFAULT),
            (8, 1, Errno::EFAULT),
            (usize::MAX, 1, Errno::EFAULT),
            (usize::MAX - 64, MAX_ENTRIES, Errno::EFAULT),
            (8, MAX_ENTRIES + 1, Errno::EINVAL),
            (8, usize::MAX, Errno::EINVAL),
            (8, usize::MAX / ENTRY + 2, Errno::EINVAL),
        ] {
            // SAFETY: nothing is mapped there, which the kernel finds out.
            let error = unsafe { copy_vector(std::ptr::without_provenance(at), vlen) }.unwrap_err();
            assert_eq!(error.errno(), errno, "{at:#x} {vlen}");
        }
        // SAFETY: no entry is looked at.
        let none = unsafe { copy_vector(std::ptr::null(), 0) };
        assert!(none.unwrap().is_empty());
    }
}
