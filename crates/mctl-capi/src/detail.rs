//! What there is to say about a thread's last call.
//!
//! A fixed buffer without a destructor: it can be used until the very end of a thread and takes no
//! memory that could be lacking.

use std::cell::RefCell;
use std::ffi::c_char;
use std::fmt::{self, Write};

/// Room for one message, its terminating NUL included. Longer ones are cut.
const ROOM: usize = 1024;

/// A thread's message.
#[derive(Debug)]
pub(crate) struct Detail(RefCell<[u8; ROOM]>);

impl Detail {
    /// None yet.
    pub(crate) const fn new() -> Detail {
        Detail(RefCell::new([0; ROOM]))
    }

    /// Empties it.
    pub(crate) fn clear(&self) {
        self.keep(format_args!(""));
    }

    /// Keeps a message. A panic while one is being written finds it taken, and adds nothing.
    pub(crate) fn keep(&self, message: fmt::Arguments<'_>) {
        let Ok(mut room) = self.0.try_borrow_mut() else {
            return;
        };
        let mut writer = Writer {
            room: &mut room,
            at: 0,
        };
        // An error means that it was cut.
        let _ = writer.write_fmt(message);
        writer.end();
    }

    /// The message as a C string, for as long as the detail lives.
    pub(crate) fn as_c_string(&self) -> *const c_char {
        self.0.as_ptr().cast_const().cast()
    }
}

struct Writer<'a> {
    room: &'a mut [u8; ROOM],
    at: usize,
}

impl Writer<'_> {
    fn end(&mut self) {
        if let Some(byte) = self.room.get_mut(self.at) {
            *byte = 0;
        }
    }
}

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Cut between two characters, and leave room for the NUL.
        let mut len = text.len().min(ROOM - 1 - self.at);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let end = self.at + len;
        if let (Some(to), Some(from)) = (self.room.get_mut(self.at..end), text.get(..len)) {
            to.copy_from_slice(from.as_bytes());
        }
        self.at = end;
        if len < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(detail: &Detail) -> Vec<u8> {
        let bytes = *detail.0.borrow();
        bytes.into_iter().take_while(|byte| *byte != 0).collect()
    }

    #[test]
    fn messages() {
        let detail = Detail::new();
        assert!(kept(&detail).is_empty());
        detail.keep(format_args!("{} is no {}", 7, "action"));
        assert_eq!(kept(&detail), b"7 is no action");
        let taken = detail.0.borrow_mut();
        detail.keep(format_args!("too late"));
        drop(taken);
        assert_eq!(kept(&detail), b"7 is no action");
        detail.clear();
        assert!(kept(&detail).is_empty());
    }

    #[test]
    fn long_ones_are_cut_between_characters() {
        let detail = Detail::new();
        detail.keep(format_args!("x{}", "\u{20ac}".repeat(ROOM)));
        let kept = kept(&detail);
        assert_eq!(kept.len(), 1 + (ROOM - 2) / 3 * 3);
        assert!(std::str::from_utf8(&kept).is_ok());
    }
}
