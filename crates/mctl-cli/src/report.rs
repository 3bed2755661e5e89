//! Standard error: errors with a hint, and notes.

use std::io::{self, Write};

use mctl::{Error, Note, Outcome};

/// One line, and a second with the way out where there is one. That standard error cannot be
/// written is nobody's business.
pub(crate) fn error(why: &str, hint: Option<&str>) {
    let mut text = format!("mctl: {}\n", one_line(why));
    if let Some(hint) = hint {
        text.push_str("hint: ");
        text.push_str(&one_line(hint));
        text.push('\n');
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A word of the command line, as it may be printed.
pub(crate) fn shown(word: impl AsRef<std::ffi::OsStr>) -> String {
    mctl::printable(word.as_ref().as_encoded_bytes())
}

/// A note: something that is to be known, but no failure.
pub(crate) fn note(what: &str) {
    let _ = io::stderr().write_all(format!("mctl: note: {}\n", one_line(what)).as_bytes());
}

/// Whatever words and names are in it: it steers no terminal.
fn one_line(text: &str) -> String {
    mctl::printable(text.as_bytes())
}

/// Says what of a group is known not to have been reached. Whether that is a failure: members that are
/// not visible are.
pub(crate) fn left_out(what: &mctl::LeftOut) -> bool {
    if !what.orphans.is_empty() {
        let pids: Vec<String> = what.orphans.iter().take(8).map(i32::to_string).collect();
        let more = if what.orphans.len() > 8 { ", …" } else { "" };
        note(&format!(
            "left alone: {}{more}: without a parent and in a process group of the tree, of which each may be, or not",
            pids.join(", ")
        ));
    }
    if what.uncounted {
        note(
            "members of the cgroup that are in another PID namespace were left alone, if there are any: cgroups \
             of version 1 do not tell",
        );
    }
    if what.invisible > 0 {
        let (are, were) = match what.invisible {
            1 => ("process of the cgroup is", "was"),
            _ => ("processes of the cgroup are", "were"),
        };
        error(
            &format!(
                "{} {are} not visible here and {were} left alone: of another PID namespace, or hidden by \
                 /proc (hidepid)",
                what.invisible
            ),
            Some("do it where they are visible: in the host's PID namespace, as root"),
        );
    }
    what.invisible > 0
}

/// What failed, for which process: `process 12: set nohugepage: why (ERRNO)`.
pub(crate) fn sentence(error: &Error, who: &str, what: &str) -> String {
    let text = error.to_string();
    if let Some((process, why)) = text
        .strip_prefix("process ")
        .and_then(|rest| rest.split_once(": "))
    {
        // Some say themselves what was to be done.
        let why = why
            .strip_prefix(what)
            .and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or(why);
        return format!("process {process}: {what}: {why}");
    }
    match error {
        Error::Unsupported { .. } => format!("process {who}: {text}"),
        _ => format!("process {who}: {what}: {text}"),
    }
}

/// The notes of several outcomes, the same note for several processes only once.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<(String, Vec<String>)>);

impl Notes {
    pub(crate) fn take(&mut self, who: &str, outcome: &Outcome) {
        for note in &outcome.notes {
            // Nothing was mergeable, so nothing was walked.
            if *note == Note::UnmergeWalks && outcome.merge_before == Some(0) {
                continue;
            }
            self.add(who, note.to_string());
        }
        if let Some(counts) = &outcome.mappings
            && !counts.failed.is_empty()
        {
            let first = counts
                .failed
                .first()
                .map_or(String::new(), |failure| failure.errno.to_string());
            self.add(
                who,
                format!(
                    "{} runs of memory could not be advised ({first})",
                    counts.failed.len()
                ),
            );
        }
    }

    fn add(&mut self, who: &str, text: String) {
        match self.0.iter_mut().find(|(known, _)| *known == text) {
            Some((_, whom)) => whom.push(who.to_owned()),
            None => self.0.push((text, vec![who.to_owned()])),
        }
    }

    pub(crate) fn print(self) {
        for (text, whom) in self.0 {
            match whom.as_slice() {
                [one] => note(&format!("process {one}: {text}")),
                many => note(&format!("{} processes: {text}", many.len())),
            }
        }
    }
}

/// An error in JSON.
#[derive(Debug, serde::Serialize)]
pub(crate) struct JsonError {
    errno: String,
    message: String,
    hint: Option<String>,
}

impl JsonError {
    pub(crate) fn of(error: &Error) -> JsonError {
        JsonError::with_hint(error, error.hint())
    }

    /// With the hint that the words of the command give it.
    pub(crate) fn with_hint(error: &Error, hint: Option<String>) -> JsonError {
        JsonError {
            errno: error.errno().to_string(),
            message: error.to_string(),
            hint,
        }
    }
}
