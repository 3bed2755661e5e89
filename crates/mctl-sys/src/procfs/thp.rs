//! The knobs of `/sys/kernel/mm/transparent_hugepage`: `always [madvise] never`.
//!
//! Source: `Documentation/admin-guide/mm/transhuge.rst`. All words that this kernel takes are
//! listed, the one in force in brackets. Which words there are depends on the knob and the kernel:
//! `enabled` and `defrag`, `shmem_enabled` with `within_size advise deny force`, and per page size
//! `hugepages-<size>kB/enabled` with `inherit`.

use super::error::Malformed;
use super::lines::words;

/// A knob's text, with exactly one choice in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knob<'a> {
    text: &'a [u8],
    choice: &'a [u8],
}

/// The words of the `enabled` and `shmem_enabled` knobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice<'a> {
    /// `always`
    Always,
    /// `madvise`
    Madvise,
    /// `never`
    Never,
    /// `inherit`: as the knob for all sizes says. Page sizes only.
    Inherit,
    /// `within_size`: always, but not past the end of the file. shmem only.
    WithinSize,
    /// `advise`: what other knobs call `madvise`. shmem only.
    Advise,
    /// `deny`: never, whatever a mount says. shmem only.
    Deny,
    /// `force`: always, whatever a mount says. shmem only.
    Force,
    /// A word that is not known here.
    Other(&'a [u8]),
}

impl<'a> Choice<'a> {
    /// From the word.
    #[must_use]
    pub fn from_word(word: &'a [u8]) -> Self {
        match word {
            b"always" => Self::Always,
            b"madvise" => Self::Madvise,
            b"never" => Self::Never,
            b"inherit" => Self::Inherit,
            b"within_size" => Self::WithinSize,
            b"advise" => Self::Advise,
            b"deny" => Self::Deny,
            b"force" => Self::Force,
            other => Self::Other(other),
        }
    }

    /// The word.
    #[must_use]
    pub const fn word(self) -> &'a [u8] {
        match self {
            Self::Always => b"always",
            Self::Madvise => b"madvise",
            Self::Never => b"never",
            Self::Inherit => b"inherit",
            Self::WithinSize => b"within_size",
            Self::Advise => b"advise",
            Self::Deny => b"deny",
            Self::Force => b"force",
            Self::Other(word) => word,
        }
    }
}

impl<'a> Knob<'a> {
    /// Parses a knob's text.
    ///
    /// # Errors
    ///
    /// [`Malformed`], unless exactly one word stands in brackets.
    pub fn parse(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut chosen = words(text).filter_map(bracketed);
        let choice = chosen
            .next()
            .ok_or(Malformed::Missing("choice in brackets"))?;
        match chosen.next() {
            None => Ok(Self { text, choice }),
            Some(_) => Err(Malformed::Unexpected("second choice in brackets")),
        }
    }

    /// The word in force.
    #[must_use]
    pub const fn word(&self) -> &'a [u8] {
        self.choice
    }

    /// The word in force, as one that is known where it is.
    #[must_use]
    pub fn choice(&self) -> Choice<'a> {
        Choice::from_word(self.choice)
    }

    /// All words that this kernel takes, in its order.
    pub fn words(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        words(self.text).map(|word| bracketed(word).unwrap_or(word))
    }

    /// Whether this kernel takes the word.
    #[must_use]
    pub fn offers(&self, word: &[u8]) -> bool {
        self.words().any(|offered| offered == word)
    }
}

fn bracketed(word: &[u8]) -> Option<&[u8]> {
    word.strip_prefix(b"[")?
        .strip_suffix(b"]")
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn knobs() {
        let knob = Knob::parse(b"always [madvise] never\n").unwrap();
        assert_eq!(knob.choice(), Choice::Madvise);
        assert_eq!(
            knob.words().collect::<Vec<_>>(),
            [&b"always"[..], b"madvise", b"never"]
        );
        assert!(knob.offers(b"never") && !knob.offers(b"inherit"));
        let knob = Knob::parse(b"always defer [defer+madvise] madvise never\n").unwrap();
        assert_eq!(knob.choice(), Choice::Other(b"defer+madvise"));
        assert_eq!(
            Knob::parse(b"[sometimes] never").unwrap().choice().word(),
            b"sometimes"
        );
    }

    #[test]
    fn not_exactly_one_choice() {
        for text in [
            &b""[..],
            b"always never",
            b"[] never",
            b"[always never",
            b"[a b]",
        ] {
            assert_eq!(
                Knob::parse(text),
                Err(Malformed::Missing("choice in brackets"))
            );
        }
        let twice = Err(Malformed::Unexpected("second choice in brackets"));
        assert_eq!(Knob::parse(b"[always] [never]"), twice);
    }

    proptest! {
        #[test]
        fn any_words(words in proptest::collection::vec("[a-z_+]{1,12}", 1..8), at in any::<prop::sample::Index>()) {
            let at = at.index(words.len());
            let text: Vec<String> = words
                .iter()
                .enumerate()
                .map(|(place, word)| if place == at { format!("[{word}]") } else { word.clone() })
                .collect();
            let text = text.join(" ");
            let knob = Knob::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(knob.word(), words[at].as_bytes());
            prop_assert_eq!(knob.choice().word(), words[at].as_bytes());
            prop_assert!(knob.words().eq(words.iter().map(|word| word.as_bytes())));
        }

        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Knob::parse(&text);
        }
    }
}
