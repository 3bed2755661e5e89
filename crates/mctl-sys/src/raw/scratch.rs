//! A stretch of anonymous memory of our own, to try the kernel on.

use std::ptr::NonNull;

use mctl_abi::Errno;

use super::last_errno;
use super::madvise::Range;

/// Zero-filled memory that starts at a multiple of its own length. It is unmapped when dropped.
#[derive(Debug)]
pub struct Scratch {
    /// What was mapped, of `2 * len` bytes; the aligned stretch lies within.
    base: NonNull<u8>,
    start: NonNull<u8>,
    len: usize,
}

impl Scratch {
    /// Maps `len` bytes, a power of two of at least a page.
    ///
    /// # Errors
    /// `EINVAL` another length; as mmap(2).
    pub fn new(len: usize) -> Result<Scratch, Errno> {
        let whole = len.checked_mul(2).ok_or(Errno::EINVAL)?;
        if !len.is_power_of_two() || len < 4096 {
            return Err(Errno::EINVAL);
        }
        // SAFETY: a new anonymous mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                whole,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::ENOMEM)?;
        let offset = base.as_ptr().align_offset(len);
        // SAFETY: the offset is below `len`, so both it and `len` bytes after it lie within the
        // mapping of twice that.
        let start = unsafe { base.add(offset.min(len)) };
        Ok(Scratch { base, start, len })
    }

    /// Where it is.
    #[must_use]
    pub fn range(&self) -> Range {
        Range {
            start: self.start.as_ptr().expose_provenance() as u64,
            len: self.len as u64,
        }
    }

    /// Writes a byte at an offset; nothing beyond the end.
    pub fn write(&mut self, offset: usize, value: u8) {
        if offset < self.len {
            // SAFETY: the offset is below the length of the mapping.
            let at = unsafe { self.start.add(offset) };
            // SAFETY: writable memory that is ours alone. Volatile: that the page is touched is
            // what is wanted.
            unsafe { at.write_volatile(value) };
        }
    }

    /// The byte at an offset; 0 beyond the end.
    #[must_use]
    pub fn read(&self, offset: usize) -> u8 {
        if offset >= self.len {
            return 0;
        }
        // SAFETY: the offset is below the length of the mapping.
        let at = unsafe { self.start.add(offset) };
        // SAFETY: readable memory that is ours alone.
        unsafe { at.read_volatile() }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, of twice the length; no reference into it was
        // handed out.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len * 2) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_and_writable() {
        for len in [4096, 2 << 20] {
            let mut scratch = Scratch::new(len).unwrap();
            let range = scratch.range();
            assert!(range.start.is_multiple_of(range.len));
            scratch.write(len - 1, 7);
            scratch.write(len, 9);
            assert_eq!((scratch.read(len - 1), scratch.read(0)), (7, 0));
            assert_eq!(scratch.read(len), 0);
        }
        for len in [0, 1, 6000, usize::MAX] {
            assert_eq!(Scratch::new(len).unwrap_err(), Errno::EINVAL, "{len}");
        }
    }
}
