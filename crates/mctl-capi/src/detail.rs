//! What there is to say about a thread's last call.
//!
//! A fixed buffer without a destructor: it can be used until the very end of a thread and takes no
//! memory that could be lacking.

use std::cell::Cell;
use std::ffi::c_char;
use std::fmt::{self, Write};

/// Room for one message, its terminating NUL included. Longer ones are cut.
const ROOM: usize = 1024;

thread_local! {
    static DETAIL: [Cell<u8>; ROOM] = const { [const { Cell::new(0) }; ROOM] };
}

/// Empties it.
pub(crate) fn clear() {
    DETAIL.with(|room| {
        if let Some(first) = room.first() {
            first.set(0);
        }
    });
}

/// Keeps a message.
pub(crate) fn keep(message: fmt::Arguments<'_>) {
    DETAIL.with(|room| {
        let mut writer = Writer { room, at: 0 };
        // An error means that it was cut.
        let _ = writer.write_fmt(message);
        writer.end();
    });
}

/// The message as a C string. It lives as long as the thread.
pub(crate) fn as_c_string() -> *const c_char {
    DETAIL.with(|room| room.as_ptr().cast())
}

struct Writer<'a> {
    room: &'a [Cell<u8>; ROOM],
    at: usize,
}

impl Writer<'_> {
    fn end(&self) {
        if let Some(cell) = self.room.get(self.at.min(ROOM - 1)) {
            cell.set(0);
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
        let cells = self.room.get(self.at..).unwrap_or_default();
        for (cell, byte) in cells.iter().zip(text.bytes().take(len)) {
            // A NUL would end the message early.
            cell.set(if byte == 0 { b'?' } else { byte });
        }
        self.at += len;
        if len < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Vec<u8> {
        DETAIL.with(|room| {
            room.iter()
                .map(Cell::get)
                .take_while(|byte| *byte != 0)
                .collect()
        })
    }

    #[test]
    fn messages() {
        assert!(kept().is_empty());
        keep(format_args!("{} is no {}", 7, "action"));
        assert_eq!(kept(), b"7 is no action");
        keep(format_args!("a\0b"));
        assert_eq!(kept(), b"a?b");
        clear();
        assert!(kept().is_empty());
    }

    #[test]
    fn long_ones_are_cut_between_characters() {
        keep(format_args!("x{}", "\u{20ac}".repeat(ROOM)));
        let kept = kept();
        assert_eq!(kept.len(), 1 + (ROOM - 2) / 3 * 3);
        assert!(std::str::from_utf8(&kept).is_ok());
    }

    #[test]
    fn each_thread_has_its_own() {
        keep(format_args!("mine"));
        std::thread::spawn(|| {
            assert!(kept().is_empty());
            keep(format_args!("theirs"));
        })
        .join()
        .unwrap();
        assert_eq!(kept(), b"mine");
    }
}
