//! The words of the command line: policies and processes.

use std::ffi::{OsStr, OsString};

use mctl::{PolicyKind, ProcessSpec};

use crate::fail::Fail;
use crate::report;

/// The words for the policies, in the order of the action table.
pub(crate) fn policy_words() -> Vec<&'static str> {
    PolicyKind::ALL.into_iter().map(PolicyKind::word).collect()
}

/// Leading words that name policies, alone or separated by commas; the rest are processes.
pub(crate) fn split(
    words: &[OsString],
    more: &[OsString],
) -> Result<(Vec<PolicyKind>, Vec<ProcessSpec>), Fail> {
    let mut kinds = Vec::new();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        match policies(word)? {
            Some(found) => kinds.extend(found),
            None => break,
        }
        rest = after;
    }
    if kinds.is_empty() {
        let why = match words.first() {
            None => "no policy was named".to_owned(),
            Some(word) => format!("'{}' is not a policy", report::shown(word)),
        };
        return Err(no_policy(why));
    }
    let processes = rest
        .iter()
        .chain(more)
        .map(|word| process(word))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((kinds, processes))
}

/// The policies of one word; `None` where it begins with a digit or sign, as a process does.
fn policies(word: &OsStr) -> Result<Option<Vec<PolicyKind>>, Fail> {
    let Some(text) = word.to_str() else {
        return Ok(None);
    };
    if text
        .bytes()
        .next()
        .is_none_or(|first| !first.is_ascii_alphabetic() && first != b',')
    {
        return Ok(None);
    }
    text.split(',')
        .map(|name| {
            PolicyKind::from_word(name).ok_or_else(|| {
                no_policy(format!(
                    "'{name}' is neither a policy nor a process number{}",
                    similar(name)
                ))
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

fn no_policy(why: String) -> Fail {
    Fail::Usage {
        why,
        hint: Some(format!("the policies are {}", policy_words().join(", "))),
    }
}

/// What people call the policies elsewhere: the knobs of the host, prctl(2), madvise(2) and KSM.
const ELSEWHERE: &[(&str, &[&str])] = &[
    (
        "nohugepage",
        &[
            "never",
            "off",
            "disable",
            "disabled",
            "none",
            "no",
            "nothp",
            "no-thp",
            "thp-never",
            "small",
        ],
    ),
    (
        "hugepage",
        &[
            "always",
            "on",
            "enable",
            "enabled",
            "yes",
            "huge",
            "thp",
            "hugepages",
            "thp-always",
        ],
    ),
    (
        "hugepage-advised",
        &[
            "madvise",
            "advised",
            "advise",
            "except-advised",
            "thp-madvise",
        ],
    ),
    ("mergeable", &["merge", "ksm", "merging", "dedup"]),
];

/// `; did you mean …?` for a word that is nearly a policy's, or that means one elsewhere.
fn similar(name: &str) -> String {
    let lower = name.to_ascii_lowercase().replace('_', "-");
    let meant = ELSEWHERE
        .iter()
        .find(|(_, words)| words.contains(&lower.as_str()));
    match meant {
        Some((policy, _)) => format!("; did you mean '{policy}'?"),
        None => did_you_mean(name, policy_words()),
    }
}

/// `; did you mean …?` for a word that is nearly one of these.
pub(crate) fn did_you_mean<'w>(name: &str, words: impl IntoIterator<Item = &'w str>) -> String {
    let lower = name.to_ascii_lowercase().replace('_', "-");
    let nearest = words
        .into_iter()
        .map(|word| (strsim::levenshtein(&lower, word), word))
        .min();
    match nearest {
        Some((away, word)) if away <= 3 => format!("; did you mean '{word}'?"),
        _ => String::new(),
    }
}

/// One process.
pub(crate) fn process(word: &OsStr) -> Result<ProcessSpec, Fail> {
    let text = word.to_str().ok_or_else(|| {
        Fail::usage(format!(
            "'{}' is not a process: give a process number, or PID:INODE",
            report::shown(word)
        ))
    })?;
    if PolicyKind::from_word(text).is_some() {
        return Err(Fail::usage(format!(
            "'{text}' stands among the processes; name the policies first"
        )));
    }
    Ok(text.parse::<ProcessSpec>()?)
}

/// Several processes, at least one; each once.
pub(crate) fn processes(words: &[OsString], more: &[OsString]) -> Result<Vec<ProcessSpec>, Fail> {
    words.iter().chain(more).map(|word| process(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_split(words: &[&str]) -> Result<(Vec<PolicyKind>, Vec<ProcessSpec>), Fail> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        split(&words, &[])
    }

    #[test]
    fn policies_come_first() {
        let (kinds, processes) = try_split(&["mergeable", "nohugepage", "12", "13:5"]).unwrap();
        assert_eq!(kinds, [PolicyKind::Mergeable, PolicyKind::Nohugepage]);
        assert_eq!(processes.len(), 2);
        let (kinds, _) = try_split(&["mergeable,nohugepage", "12"]).unwrap();
        assert_eq!(kinds.len(), 2);
        for words in [
            &["12"][..],
            &[],
            &["nohugepage", "12", "mergeable"],
            &["nohugepage,", "1"],
            &[",", "1"],
            &["bogus", "1"],
            &["nohugepage", "abc"],
            &["", "1"],
        ] {
            assert!(
                matches!(try_split(words), Err(Fail::Usage { .. })),
                "{words:?}"
            );
        }
    }

    #[test]
    fn a_near_miss_is_named() {
        assert_eq!(
            similar("nohugepages"),
            "; did you mean 'nohugepage'?".to_owned()
        );
        assert_eq!(similar("NOHUGEPAGE"), "; did you mean 'nohugepage'?");
        assert_eq!(similar("zebra"), "");
        for (policy, words) in ELSEWHERE {
            assert!(PolicyKind::from_word(policy).is_some(), "{policy}");
            for word in *words {
                assert!(PolicyKind::from_word(word).is_none(), "{word}");
                assert_eq!(similar(word), format!("; did you mean '{policy}'?"));
            }
        }
        assert_eq!(similar("NEVER"), "; did you mean 'nohugepage'?");
    }
}
