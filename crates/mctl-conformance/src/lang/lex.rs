//! Words with their columns, and the small things that words are made of.

use super::SyntaxError;

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) column: usize,
}

/// The words of one line, taken one after the other.
#[derive(Clone, Debug)]
pub(super) struct Words {
    line: usize,
    words: Vec<Word>,
    next: usize,
    end: usize,
}

impl Words {
    /// Splits a line. A word in double quotes may hold blanks; `\"` is a quote in it.
    pub(super) fn split(line: usize, text: &str) -> Result<Words, SyntaxError> {
        let mut words: Vec<Word> = Vec::new();
        let mut chars = text.chars().zip(1..).peekable();
        let mut end = 1;
        while let Some((c, column)) = chars.next() {
            end = column + 1;
            if c.is_whitespace() {
                continue;
            }
            if c == '#' {
                break;
            }
            let mut word = String::new();
            if c == '"' {
                word.push(c);
                let mut closed = false;
                while let Some((c, at)) = chars.next() {
                    end = at + 1;
                    match c {
                        '\\' => {
                            if let Some((escaped, _)) = chars.next() {
                                word.push(escaped);
                            }
                        }
                        '"' => {
                            closed = true;
                            break;
                        }
                        other => word.push(other),
                    }
                }
                if !closed {
                    return Err(SyntaxError {
                        line,
                        column: end,
                        expected: "a closing quote".to_owned(),
                        found: "the end of the line".to_owned(),
                    });
                }
            } else {
                word.push(c);
                while let Some((c, at)) = chars.peek().copied() {
                    if c.is_whitespace() || c == '#' {
                        break;
                    }
                    end = at + 1;
                    word.push(c);
                    chars.next();
                }
            }
            words.push(Word { text: word, column });
        }
        Ok(Words {
            line,
            words,
            next: 0,
            end,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next >= self.words.len()
    }

    pub(super) fn peek(&self) -> Option<&Word> {
        self.words.get(self.next)
    }

    /// The next word, or an error that says what was expected.
    pub(super) fn take(&mut self, expected: &str) -> Result<Word, SyntaxError> {
        match self.words.get(self.next).cloned() {
            Some(word) => {
                self.next += 1;
                Ok(word)
            }
            None => Err(SyntaxError {
                line: self.line,
                column: self.end,
                expected: expected.to_owned(),
                found: "the end of the line".to_owned(),
            }),
        }
    }

    /// Takes the next word if it is this one.
    pub(super) fn take_if(&mut self, text: &str) -> bool {
        let hit = self.peek().is_some_and(|word| word.text == text);
        if hit {
            self.next += 1;
        }
        hit
    }

    /// Takes the next word if it is `key=…`; returns what follows the sign, with its column.
    pub(super) fn take_key(&mut self, key: &str) -> Option<Word> {
        let word = self.peek()?;
        let value = word.text.strip_prefix(key)?.strip_prefix('=')?;
        let found = Word {
            text: value.to_owned(),
            column: word.column + key.chars().count() + 1,
        };
        self.next += 1;
        Some(found)
    }

    /// A quoted word.
    pub(super) fn quoted(&mut self, expected: &str) -> Result<String, SyntaxError> {
        let word = self.take(expected)?;
        match word.text.strip_prefix('"') {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.wrong(&word, expected)),
        }
    }

    pub(super) fn wrong(&self, word: &Word, expected: &str) -> SyntaxError {
        SyntaxError {
            line: self.line,
            column: word.column,
            expected: expected.to_owned(),
            found: format!("`{}`", word.text.trim_start_matches('"')),
        }
    }

    /// An error unless every word was taken.
    pub(super) fn done(&self) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(word) => Err(self.wrong(word, "the end of the line")),
            None => Ok(()),
        }
    }

    /// A number in decimal or hexadecimal, without a unit.
    pub(super) fn number(&mut self, expected: &str) -> Result<u64, SyntaxError> {
        let word = self.take(expected)?;
        parse_number(&word.text).ok_or_else(|| self.wrong(&word, expected))
    }

    /// A size in bytes, with `K`, `M`, `G` or `p` (pages).
    pub(super) fn size(&mut self) -> Result<u64, SyntaxError> {
        let expected = "a size (12K, 4M, 3p, 0x1000, 100)";
        let word = self.take(expected)?;
        parse_size(&word.text).ok_or_else(|| self.wrong(&word, expected))
    }
}

pub(super) fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

pub(super) fn parse_size(text: &str) -> Option<u64> {
    let units = [
        ('K', 1 << 10),
        ('M', 1 << 20),
        ('G', 1 << 30),
        ('p', mctl_model::PAGE),
    ];
    if text == "max" {
        return Some(u64::MAX);
    }
    for (letter, unit) in units {
        if let Some(count) = text.strip_suffix(letter) {
            return count.parse::<u64>().ok()?.checked_mul(unit);
        }
    }
    parse_number(text)
}
