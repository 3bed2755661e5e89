//! Which mappings: by kind, by name, by range.

use mctl_sys::procfs::vmflags::KnownFlags;

use super::Range;
use super::listing::{each_mapping, each_span};
use crate::error::{Error, Result};
use crate::see::address_space::{Kind, ShmemDevices, kind};
use crate::see::coverage::shmem_devices;
use crate::target::Target;

/// A choice of mappings. Parts that are given all have to hold; kinds add up.
///
/// ```
/// use mctl::advise::Selection;
///
/// let heap_and_anonymous = Selection::all().heap().anonymous();
/// let library = Selection::all().named("*/libcrypto.so*")?;
/// assert!(Selection::all().named("[").is_err());
/// # Ok::<(), mctl::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    kinds: Vec<Part>,
    names: Vec<Pattern>,
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Anonymous,
    Shmem,
    File,
    Heap,
    Stack,
}

impl Selection {
    /// Every mapping.
    #[must_use]
    pub fn all() -> Selection {
        Selection::default()
    }

    fn part(mut self, part: Part) -> Selection {
        self.kinds.push(part);
        self
    }

    /// Private anonymous memory, heap and stacks among it.
    #[must_use]
    pub fn anonymous(self) -> Selection {
        self.part(Part::Anonymous)
    }

    /// Shared memory: memfd, tmpfs, System V.
    #[must_use]
    pub fn shmem(self) -> Selection {
        self.part(Part::Shmem)
    }

    /// Mappings of files.
    #[must_use]
    pub fn files(self) -> Selection {
        self.part(Part::File)
    }

    /// The heap that brk(2) moves.
    #[must_use]
    pub fn heap(self) -> Selection {
        self.part(Part::Heap)
    }

    /// The first thread's stack.
    #[must_use]
    pub fn stack(self) -> Selection {
        self.part(Part::Stack)
    }

    /// Mappings whose name (a path, `[heap]`, …) matches a shell pattern: `*` any bytes, `?` one,
    /// `[a-z]` and `[!a-z]` one of a set, `\` takes the next as it is.
    ///
    /// # Errors
    /// `EINVAL`: a set that is not closed.
    pub fn named(mut self, pattern: &str) -> Result<Selection> {
        self.names.push(Pattern::parse(pattern)?);
        Ok(self)
    }

    /// What lies in a range; mappings are cut to it.
    #[must_use]
    pub fn within(mut self, range: Range) -> Selection {
        self.ranges.push(range);
        self
    }

    /// The ranges that a target has of it.
    ///
    /// # Errors
    /// Its mappings cannot be read.
    pub fn ranges(&self, target: &Target) -> Result<Vec<Range>> {
        let mut found = Vec::new();
        if self.kinds.is_empty() && self.names.is_empty() {
            each_span(target, |start, end| self.cut(start, end, &mut found))?;
            return Ok(found);
        }
        // Only the kinds tell shared memory from files.
        let shmem = if self.kinds.is_empty() {
            ShmemDevices::default()
        } else {
            shmem_devices(target)?
        };
        each_mapping(target, |line| {
            let kind = kind(line, KnownFlags::default(), &shmem);
            let kind_fits =
                self.kinds.is_empty() || self.kinds.iter().any(|part| part.fits(kind, line.name));
            let name_fits =
                self.names.is_empty() || self.names.iter().any(|name| name.matches(line.name));
            if kind_fits && name_fits {
                self.cut(line.start, line.end, &mut found);
            }
        })?;
        Ok(found)
    }

    fn cut(&self, start: u64, end: u64, into: &mut Vec<Range>) {
        if self.ranges.is_empty() {
            into.push(Range {
                start,
                len: end - start,
            });
        }
        for range in &self.ranges {
            let from = start.max(range.start);
            let to = end.min(range.start.saturating_add(range.len));
            if from < to {
                into.push(Range {
                    start: from,
                    len: to - from,
                });
            }
        }
    }
}

impl Part {
    fn fits(self, kind: Kind, name: &[u8]) -> bool {
        match self {
            Part::Anonymous => kind == Kind::Anonymous,
            Part::Shmem => kind == Kind::Shmem,
            Part::File => kind == Kind::File,
            Part::Heap => name == b"[heap]",
            Part::Stack => name == b"[stack]",
        }
    }
}

/// A shell pattern over bytes: names of mappings need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Byte(u8),
    Set {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern> {
        let open = || Error::Invalid {
            why: format!("'{text}': a '[' is not closed"),
        };
        let mut tokens = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            tokens.push(match byte {
                b'*' => Token::Any,
                b'?' => Token::One,
                b'\\' => Token::Byte(bytes.next().unwrap_or(b'\\')),
                b'[' => {
                    let mut negated = false;
                    let mut members: Vec<u8> = Vec::new();
                    let mut closed = false;
                    for (index, member) in bytes.by_ref().enumerate() {
                        match member {
                            b'!' | b'^' if index == 0 => negated = true,
                            b']' if !members.is_empty() => {
                                closed = true;
                                break;
                            }
                            member => members.push(member),
                        }
                    }
                    if !closed {
                        return Err(open());
                    }
                    Token::Set {
                        negated,
                        ranges: set_ranges(&members),
                    }
                }
                byte => Token::Byte(byte),
            });
        }
        Ok(Pattern(tokens))
    }

    /// Linear in name times pattern at worst: on a mismatch only the last `*` is tried again.
    fn matches(&self, name: &[u8]) -> bool {
        let (mut at, mut token) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while at < name.len() {
            match (self.0.get(token), name.get(at)) {
                (Some(Token::Any), _) => {
                    star = Some((token, at));
                    token += 1;
                    continue;
                }
                (Some(one), Some(byte)) if one.takes(*byte) => {
                    at += 1;
                    token += 1;
                    continue;
                }
                _ => {}
            }
            let Some((star_token, star_at)) = star else {
                return false;
            };
            star = Some((star_token, star_at + 1));
            at = star_at + 1;
            token = star_token + 1;
        }
        self.0
            .get(token..)
            .unwrap_or_default()
            .iter()
            .all(|token| *token == Token::Any)
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Any => false,
            Token::One => true,
            Token::Byte(wanted) => *wanted == byte,
            Token::Set { negated, ranges } => {
                ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&byte))
                    != *negated
            }
        }
    }
}

fn set_ranges(members: &[u8]) -> Vec<(u8, u8)> {
    let mut ranges = Vec::new();
    let mut rest = members;
    while let Some((low, after)) = rest.split_first() {
        if let [b'-', high, tail @ ..] = after {
            ranges.push((*low, *high));
            rest = tail;
        } else {
            ranges.push((*low, *low));
            rest = after;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (pattern, name, matches) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("/usr/lib/*.so", "/usr/lib/x/y.so", true),
            ("*libcrypto*", "/lib/libcrypto.so.3", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?", "ab", false),
            ("[[]heap]", "[heap]", true),
            ("\\[heap\\]", "[heap]", true),
            ("lib[a-c].so", "libb.so", true),
            ("lib[!a-c].so", "libb.so", false),
            ("[]x]", "]", true),
        ] {
            let pattern_ = Pattern::parse(pattern).unwrap();
            assert_eq!(
                pattern_.matches(name.as_bytes()),
                matches,
                "{pattern} {name}"
            );
        }
        for bad in ["[", "[abc", "[!", "[]"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_escaped(name in "[ -~]{0,40}") {
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(Pattern::parse(&escaped).unwrap().matches(name.as_bytes()));
        }

        #[test]
        fn any_pattern_on_any_name_ends(pattern in ".{0,30}", name in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                let _ = pattern.matches(&name);
            }
        }
    }
}
