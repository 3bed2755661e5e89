//! Standard error: errors with a hint, and notes.

use std::io::{self, Write};

use mctl::{Error, Note, Outcome};

/// One line, and a second with the way out where there is one. That standard error cannot be
/// written is nobody's business.
pub(crate) fn error(why: &str, hint: Option<&str>) {
    let mut text = format!("mctl: {why}\n");
    if let Some(hint) = hint {
        text.push_str("hint: ");
        text.push_str(hint);
        text.push('\n');
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A note: something that is to be known, but no failure.
pub(crate) fn note(what: &str) {
    let _ = io::stderr().write_all(format!("mctl: note: {what}\n").as_bytes());
}

/// What failed, for which process: `process 12: set nohugepage: why (ERRNO)`.
pub(crate) fn sentence(error: &Error, who: &str, what: &str) -> String {
    let text = error.to_string();
    if let Some((process, why)) = text
        .strip_prefix("process ")
        .and_then(|rest| rest.split_once(": "))
    {
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
