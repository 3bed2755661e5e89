//! The sections of the manual pages.

use std::io::Write;

use crate::cli::{ENTRIES, Entry};
use crate::commands::get;
use crate::exit;
use crate::words;

/// The usage as the help has it: one line for each way to call it.
pub(super) fn synopsis(text: &mut Vec<u8>, usage: &str) -> std::io::Result<()> {
    section(text, "SYNOPSIS")?;
    let lines = usage.trim_start_matches("Usage:").lines();
    for (at, line) in lines
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .enumerate()
    {
        let literal = line
            .split(' ')
            .take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase()));
        let literal: Vec<&str> = literal.collect();
        let literal = literal.join(" ");
        let arguments = line.get(literal.len()..).unwrap_or_default();
        let between = if at > 0 { ".br\n" } else { "" };
        writeln!(
            text,
            "{between}\\fB{}\\fR{}",
            escape(&literal),
            escape(arguments)
        )?;
    }
    Ok(())
}

fn list<'a>(
    text: &mut Vec<u8>,
    rows: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> std::io::Result<()> {
    for (word, about) in rows {
        write!(text, ".TP\n\\fB{}\\fR\n{}\n", escape(word), escape(about))?;
    }
    Ok(())
}

/// Of `mctl get`.
pub(super) fn columns(text: &mut Vec<u8>) -> std::io::Result<()> {
    section(text, "COLUMNS")?;
    list(text, get::columns_with_meanings())
}

/// What stands in the column WHY, and what would change it.
pub(super) fn reasons(text: &mut Vec<u8>) -> std::io::Result<()> {
    section(text, "WHY MEMORY IS NOT HUGE")?;
    writeln!(
        text,
        "The column WHY names the reason for most of the memory that is not in huge pages:"
    )?;
    let all = mctl::why::Reason::ALL.iter();
    list(text, all.map(|reason| (reason.phrase(), reason.sentence())))
}

pub(super) fn environment(text: &mut Vec<u8>) -> std::io::Result<()> {
    section(text, "ENVIRONMENT")?;
    list(
        text,
        [
            (
                "COLUMNS",
                "how wide the terminal is, where it is not what the terminal says",
            ),
            ("NO_COLOR", "no colour unless --color always is given"),
            (
                "LC_ALL, LC_CTYPE, LANG",
                "whether more than ASCII may be drawn: the first that is set names UTF-8",
            ),
        ],
    )
}

pub(super) fn files(text: &mut Vec<u8>) -> std::io::Result<()> {
    section(text, "FILES")?;
    list(
        text,
        [
            (
                "/proc/PID/smaps, smaps_rollup, pagemap",
                "how much memory there is, and what of it is in huge pages",
            ),
            (
                "/proc/PID/status, stat, ksm_stat",
                "what the kernel shows of a policy",
            ),
            (
                "/sys/kernel/mm/transparent_hugepage/",
                "the host's rule on huge pages; it is read and never written",
            ),
            (
                "/sys/kernel/mm/ksm/run",
                "whether ksmd merges; it is read and never written",
            ),
            (
                "/sys/kernel/mm/mctl/nr",
                "the number of the system call mctl(2), on a kernel that has it",
            ),
            (
                "/dev/cpu_dma_latency",
                "held open by root while a call is run in a process, so that idle processors stay awake",
            ),
        ],
    )
}

pub(super) fn section(text: &mut Vec<u8>, name: &str) -> std::io::Result<()> {
    writeln!(text, ".SH \"{name}\"")
}

pub(super) fn policies(text: &mut Vec<u8>) -> std::io::Result<()> {
    section(text, "POLICIES")?;
    for kind in mctl::PolicyKind::ALL {
        let info = mctl::Action::of(mctl::Verb::Set, kind).info();
        write!(
            text,
            ".TP\n\\fB{}\\fR\n{}\n",
            escape(info.word),
            escape(info.summary)
        )?;
    }
    writeln!(
        text,
        ".PP\nOf {} only one can be in force; the last one set replaces the others.",
        escape(
            &words::policy_words()
                .into_iter()
                .filter(|word| mctl::PolicyKind::from_word(word).is_some_and(|kind| kind.is_thp()))
                .collect::<Vec<_>>()
                .join(", ")
        )
    )
}

pub(super) fn commands(text: &mut Vec<u8>) -> std::io::Result<()> {
    section(text, "COMMANDS")?;
    for entry in ENTRIES {
        write!(
            text,
            ".TP\n\\fBmctl\\-{}\\fR(1)\n{}\n",
            escape(entry.name),
            escape(entry.about)
        )?;
    }
    Ok(())
}

pub(super) fn statuses(text: &mut Vec<u8>, entry: Option<&Entry>) -> std::io::Result<()> {
    section(text, "EXIT STATUS")?;
    let is_run = entry.is_some_and(|entry| entry.name == "run");
    let table = if is_run { exit::RUN_TABLE } else { exit::TABLE };
    for (code, meaning) in table {
        write!(text, ".TP\n\\fB{code}\\fR\n{}\n", escape(meaning))?;
    }
    if is_run {
        write!(
            text,
            ".PP\nOtherwise it is the exit status of the program.\n"
        )?;
    } else if entry.is_none() {
        write!(text, ".PP\n\\fBmctl\\-run\\fR(1) has its own.\n")?;
    }
    Ok(())
}

pub(super) fn see_also(text: &mut Vec<u8>, entry: Option<&Entry>) -> std::io::Result<()> {
    section(text, "SEE ALSO")?;
    let ours = std::iter::once("mctl".to_owned())
        .chain(ENTRIES.iter().map(|other| format!("mctl-{}", other.name)))
        .filter(|name| {
            *name != entry.map_or("mctl".to_owned(), |entry| format!("mctl-{}", entry.name))
        })
        .map(|name| format!("\\fB{}\\fR(1)", escape(&name)));
    let others = [("prctl", 2), ("madvise", 2), ("proc_pid_smaps", 5)]
        .map(|(name, number)| format!("\\fB{name}\\fR({number})"));
    let concepts = std::iter::once("\\fBmctl\\fR(7)".to_owned());
    let all: Vec<String> = concepts.chain(ours).chain(others).collect();
    writeln!(text, "{}", all.join(",\n"))
}

/// Text for roff: backslashes, hyphens, and lines that begin like a request.
pub(super) fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}
