//! Lines and words of a byte slice.

/// The lines of a text, without their newlines, each with its number from 1.
#[derive(Clone, Debug)]
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    number: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            number: 0,
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = split_line(self.rest);
        self.rest = rest;
        self.number = self.number.saturating_add(1);
        Some((self.number, line))
    }
}

/// The first line without its newline, and what follows it.
#[inline]
pub(super) fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    split_at_byte(text, b'\n').unwrap_or((text, &[]))
}

/// What stands before and after the first such byte.
#[inline]
pub(super) fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let (head, tail) = text.split_at_checked(memchr::memchr(byte, text)?)?;
    Some((head, tail.get(1..).unwrap_or_default()))
}

/// The words of a line, separated by spaces and tabs.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|byte| matches!(byte, b' ' | b'\t' | b'\n'))
        .filter(|word| !word.is_empty())
}
