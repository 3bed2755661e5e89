//! One specification of our own as C, as a patch and folded into one line; and the seed, somebody
//! else's patch, which is no part of the repository: it is looked for in $MCTL_SEEDS, then beside
//! the checkout.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Our own, as C.
pub(crate) const OWN: &str = include_str!("../data/own.c");

/// Our own, as a patch that adds it.
pub(crate) fn own_patch() -> String {
    let mut patch = format!(
        "diff --git a/own.c b/own.c\n--- /dev/null\n+++ b/own.c\n@@ -0,0 +1,{} @@\n",
        OWN.lines().count()
    );
    OWN.lines().for_each(|l| patch.push_str(&format!("+{l}\n")));
    patch
}

/// The same with its lines joined and its space squeezed, as mail archives do it.
pub(crate) fn own_folded() -> String {
    // A line comment has no end in there.
    own_patch()
        .lines()
        .filter(|l| !l.starts_with("+//"))
        .flat_map(str::split_whitespace)
        .collect::<Vec<_>>()
        .join(" ")
}

const SEED: &str = "kapi-mlockall-spec.txt";

/// The seed as it came: a mail, everything in one line.
pub(crate) fn seed_folded() -> Option<&'static str> {
    static TEXT: OnceLock<Option<String>> = OnceLock::new();
    TEXT.get_or_init(|| {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/seeds");
        std::env::var_os("MCTL_SEEDS")
            .map(PathBuf::from)
            .into_iter()
            .chain([PathBuf::from(beside)])
            .find_map(|folder| std::fs::read_to_string(folder.join(SEED)).ok())
    })
    .as_deref()
}

/// The seed as lines of a patch.
pub(crate) fn seed_patch() -> Option<&'static str> {
    static TEXT: OnceLock<Option<String>> = OnceLock::new();
    TEXT.get_or_init(|| {
        let folded = seed_folded()?;
        Some(unfold(folded.get(folded.find("diff --git")?..)?))
    })
    .as_deref()
}

/// One line of a folded patch back into lines.
fn unfold(folded: &str) -> String {
    let folded = folded.trim_end();
    // The signature that git puts at the end of a mail.
    let folded = folded.rsplit_once(" -- ").map_or(folded, |(t, _)| t);
    let mut patch = String::new();
    let (mut rest, mut in_hunk) = (folded, false);
    while let Some(at) = rest.find(' ') {
        let (before, after) = rest.split_at(at);
        patch.push_str(before);
        rest = &after[1..];
        let header = !in_hunk
            && ["index ", "--- ", "+++ ", "@@ "]
                .iter()
                .any(|h| rest.starts_with(h));
        let added = in_hunk
            && rest
                .strip_prefix('+')
                .is_some_and(|t| t.starts_with(|c: char| c == ' ' || c.is_ascii_alphabetic()));
        in_hunk |= header && rest.starts_with('@');
        patch.push(if header || added { '\n' } else { ' ' });
    }
    patch + rest + "\n"
}

/// `seed!(folded)` or `seed!(patch)`; without the file the rest of the test is skipped, aloud.
macro_rules! seed {
    (folded) => {
        $crate::common::seed!(@ $crate::common::seed_folded())
    };
    (patch) => {
        $crate::common::seed!(@ $crate::common::seed_patch())
    };
    (@ $text:expr) => {
        match $text {
            Some(text) => text,
            None => mctl_testkit::skip!("needs the seed file (MCTL_SEEDS)"),
        }
    };
}
pub(crate) use seed;
