//! Names made fit to be shown: those of processes, files and cgroups are whatever bytes their owner chose.

/// A name fit for a terminal, for one line of a table, and for JSON. What would steer a terminal, begin a new
/// line, reorder or hide text, and bytes that are no UTF-8, are written in octal, as the kernel itself
/// writes a newline in `/proc/PID/maps` (`\012`). Everything else stays.
///
/// ```
/// use mctl_sys::text::printable;
///
/// assert_eq!(printable(b"a\x1b[31m\xff\n"), "a\\033[31m\\377\\012");
/// assert_eq!(printable("\u{202e}txt.exe ö".as_bytes()), "\\342\\200\\256txt.exe ö");
/// ```
#[must_use]
pub fn printable(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_unfit(c) {
                let mut utf8 = [0; 4];
                c.encode_utf8(&mut utf8)
                    .bytes()
                    .for_each(|byte| octal(byte, &mut text));
            } else {
                text.push(c);
            }
        }
        chunk
            .invalid()
            .iter()
            .for_each(|&byte| octal(byte, &mut text));
    }
    text
}

/// Control characters (C0, DEL, C1), line and paragraph separators, and the characters of Unicode's category
/// Cf, which are not seen themselves: among them are those that reorder what follows (UAX #9).
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

fn octal(byte: u8, text: &mut String) {
    text.push('\\');
    for shift in [6, 3, 0] {
        text.push(char::from(b'0' + (byte >> shift & 7)));
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_that_steers_reorders_or_hides_is_left() {
        let unfit = "\0\t\n\r\u{7}\u{1b}\u{7f}\u{80}\u{9b}\u{9f}\u{ad}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\
                     \u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0041}";
        for c in unfit.chars() {
            let text = printable(c.to_string().as_bytes());
            assert!(text.is_ascii() && text.starts_with('\\'), "{c:?}: {text:?}");
        }
        assert_eq!(printable(b"\x9b31m"), "\\23331m", "C1 as a bare byte");
        let fit = "Isolated Web Co/ä ö 漢字 \u{1f980} a\\b";
        assert_eq!(printable(fit.as_bytes()), fit);
    }

    #[test]
    fn any_bytes_become_one_line() {
        let all: Vec<u8> = (0..=255).collect();
        let text = printable(&all);
        assert!(text.chars().all(|c| !c.is_control()));
        assert_eq!(text.lines().count(), 1);
    }
}
