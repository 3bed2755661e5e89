//! The tokens of C, as far as specifications need them.

use std::borrow::Cow;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Ident(&'a str),
    Number(&'a str),
    /// A string literal, decoded.
    Str(Cow<'a, str>),
    /// A character literal as written.
    Char(&'a str),
    Punct(&'static str),
    /// A preprocessor line as written (`#ifdef X`).
    Directive(&'a str),
    /// Something that is no C, or a literal without its end.
    Bad(&'static str),
}

/// A token and its bytes in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Token<'_> {
    pub(crate) fn is(&self, punct: &str) -> bool {
        matches!(self.kind, Kind::Punct(have) if have == punct)
    }
}

const PUNCTS: &[&str] = &[
    "...", "<<=", ">>=", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=",
    "-=", "*=", "/=", "%=", "&=", "|=", "^=", "##", "{", "}", "(", ")", "[", "]", ";", ",", ".",
    "=", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!", "<", ">", "?", ":", "#", "\\", "@", "$",
    "`",
];

/// A lexer over part of a file. In a unified diff the first column is not part of the C.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    diff: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str, at: usize, diff: bool) -> Self {
        Self { text, at, diff }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// After a newline: passes the diff's column, and whole lines that the patch removes.
    fn line_start(&mut self) {
        while self.diff {
            match self.byte(0) {
                Some(b'+' | b' ') => {
                    self.at += 1;
                    return;
                }
                Some(b'-') => {
                    self.at += memchr::memchr(b'\n', self.rest().as_bytes())
                        .map_or(self.rest().len(), |n| n + 1)
                }
                _ => return,
            }
        }
    }

    fn blank(&mut self) -> Option<Token<'a>> {
        loop {
            match self.byte(0)? {
                b'\n' => {
                    self.at += 1;
                    self.line_start();
                    let start = self.at;
                    while matches!(self.byte(0), Some(b' ' | b'\t')) {
                        self.at += 1;
                    }
                    if self.byte(0) == Some(b'#') {
                        return Some(self.directive(start));
                    }
                }
                b' ' | b'\t' | b'\r' | 0x0c | 0x0b => self.at += 1,
                b'\\' if self.byte(1) == Some(b'\n') => self.at += 2,
                b'\\' if self.byte(1) == Some(b'\r') && self.byte(2) == Some(b'\n') => self.at += 3,
                b'/' if self.byte(1) == Some(b'*') => {
                    let body = self.text.get(self.at + 2..).unwrap_or_default();
                    self.at += 2 + memchr::memmem::find(body.as_bytes(), b"*/")
                        .map_or(body.len(), |n| n + 2);
                }
                b'/' if self.byte(1) == Some(b'/') => self.line_end(),
                _ => return None,
            }
        }
    }

    /// To the end of the line, over continuations.
    fn line_end(&mut self) {
        loop {
            let rest = self.rest();
            let Some(n) = memchr::memchr(b'\n', rest.as_bytes()) else {
                self.at = self.text.len();
                return;
            };
            let line = rest.get(..n).unwrap_or_default().trim_end_matches('\r');
            self.at += n;
            if !line.ends_with('\\') {
                return;
            }
            self.at += 1;
        }
    }

    fn directive(&mut self, from: usize) -> Token<'a> {
        self.line_end();
        Token {
            kind: Kind::Directive(self.text.get(from..self.at).unwrap_or_default()),
            from,
            to: self.at,
        }
    }

    pub(crate) fn next_token(&mut self) -> Option<Token<'a>> {
        if let Some(directive) = self.blank() {
            return Some(directive);
        }
        let from = self.at;
        let first = self.byte(0)?;
        let kind = match first {
            b'"' => self.string(),
            b'\'' => self.character(),
            b'0'..=b'9' => {
                self.word();
                Kind::Number(self.text.get(from..self.at).unwrap_or_default())
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                self.word();
                Kind::Ident(self.text.get(from..self.at).unwrap_or_default())
            }
            _ => {
                let rest = self.rest();
                if let Some(punct) = PUNCTS.iter().find(|p| rest.starts_with(**p)) {
                    self.at += punct.len();
                    Kind::Punct(punct)
                } else {
                    self.at += rest.chars().next().map_or(1, char::len_utf8);
                    Kind::Bad("a character that C does not have")
                }
            }
        };
        Some(Token {
            kind,
            from,
            to: self.at,
        })
    }

    fn word(&mut self) {
        self.at += self
            .rest()
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
            .count();
    }

    fn character(&mut self) -> Kind<'a> {
        let from = self.at;
        self.at += 1;
        while let Some(byte) = self.byte(0) {
            match byte {
                b'\\' if self.byte(1).is_some() => self.at += 1 + self.char_length(1),
                b'\'' => {
                    self.at += 1;
                    return Kind::Char(self.text.get(from..self.at).unwrap_or_default());
                }
                b'\n' => break,
                _ => self.at += self.char_length(0),
            }
        }
        Kind::Bad("a character literal without its end")
    }

    fn char_length(&self, ahead: usize) -> usize {
        self.text
            .get(self.at + ahead..)
            .and_then(|rest| rest.chars().next())
            .map_or(1, char::len_utf8)
    }

    fn string(&mut self) -> Kind<'a> {
        self.at += 1;
        let start = self.at;
        let mut decoded: Option<String> = None;
        loop {
            let rest = self.rest().as_bytes();
            let Some(n) = memchr::memchr3(b'"', b'\\', b'\n', rest) else {
                self.at = self.text.len();
                return Kind::Bad("a string without its closing quote");
            };
            let plain = self.text.get(self.at..self.at + n).unwrap_or_default();
            if let Some(decoded) = &mut decoded {
                decoded.push_str(plain);
            }
            let stop = rest.get(n).copied();
            self.at += n;
            match stop {
                Some(b'"') => {
                    let whole = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Kind::Str(decoded.map_or(Cow::Borrowed(whole), Cow::Owned));
                }
                Some(b'\\') => {
                    let out = decoded.get_or_insert_with(|| {
                        self.text.get(start..self.at).unwrap_or_default().to_owned()
                    });
                    self.at += 1;
                    let used = escape(self.text.get(self.at..).unwrap_or_default(), out);
                    let spliced = self.byte(0) == Some(b'\n');
                    self.at += used;
                    if spliced {
                        self.line_start();
                    }
                }
                _ => return Kind::Bad("a string without its closing quote"),
            }
        }
    }
}

/// Decodes what follows a backslash; answers how many bytes it took.
fn escape(rest: &str, out: &mut String) -> usize {
    let Some(first) = rest.chars().next() else {
        return 0;
    };
    let digits = |skip: usize, most: usize, radix: u32| {
        rest.get(skip..)
            .unwrap_or_default()
            .chars()
            .take(most)
            .take_while(|c| c.is_digit(radix))
            .count()
    };
    let mut number = |from: usize, length: usize, radix: u32| {
        let value = rest
            .get(from..from + length)
            .and_then(|d| u32::from_str_radix(d, radix).ok());
        out.push(value.and_then(char::from_u32).unwrap_or('\u{fffd}'));
        from + length
    };
    match first {
        '0'..='7' => {
            let length = digits(0, 3, 8);
            number(0, length, 8)
        }
        'x' if digits(1, 2, 16) > 0 => {
            let length = digits(1, 2, 16);
            number(1, length, 16)
        }
        'n' | 't' | 'r' | 'a' | 'b' | 'f' | 'v' | 'e' | '"' | '\'' | '\\' | '?' => {
            out.push(match first {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                'e' => '\u{1b}',
                other => other,
            });
            1
        }
        '\n' => 1,
        '\r' if rest.starts_with("\r\n") => 2,
        other => {
            out.push('\\');
            out.push(other);
            other.len_utf8()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str, diff: bool) -> Vec<Kind<'_>> {
        let mut lexer = Lexer::new(text, 0, diff);
        std::iter::from_fn(|| lexer.next_token().map(|t| t.kind)).collect()
    }

    #[test]
    fn strings_comments_continuations_and_escapes() {
        let text =
            "a /* x\" */ \"b\\n\\x41\\101 // no \\\" comment\" \\\n // gone \\\n also gone\n'\\''";
        assert_eq!(
            kinds(text, false),
            [
                Kind::Ident("a"),
                Kind::Str("b\nAA // no \" comment".into()),
                Kind::Char("'\\''")
            ]
        );
    }

    #[test]
    fn a_string_across_a_spliced_line_and_one_without_end() {
        assert_eq!(kinds("\"ab\\\ncd\"", false), [Kind::Str("abcd".into())]);
        assert_eq!(
            kinds("\"ab\ncd", false),
            [
                Kind::Bad("a string without its closing quote"),
                Kind::Ident("cd")
            ]
        );
    }

    #[test]
    fn directives_are_tokens_and_the_columns_of_a_diff_are_not() {
        assert_eq!(
            kinds("x\n #ifdef A\ny", false),
            [
                Kind::Ident("x"),
                Kind::Directive(" #ifdef A"),
                Kind::Ident("y")
            ]
        );
        assert_eq!(
            kinds("x\n+y\n-z\n w", true),
            [Kind::Ident("x"), Kind::Ident("y"), Kind::Ident("w")]
        );
    }
}
