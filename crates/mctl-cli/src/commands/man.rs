//! `mctl man`: the manual pages, made from the tree of commands.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, Command, FromArgMatches};
use clap_mangen::Man;

use crate::cli::{self, ENTRIES, EXAMPLES, Entry};
use crate::exit;
use crate::fail::{Ended, Fail, plain};
use crate::output::Out;
use crate::report;
use crate::words;

pub(crate) const ENTRY: Entry = Entry {
    name: "man",
    about: "print a manual page, or write all of them",
    long: "Without --out one page goes to standard output: mctl(1), or that of the command named.",
    define: ManArgs::augment_args,
    run,
    takes_policies: false,
    examples: &[
        ("mctl man set | man -l -", "read the page of mctl set"),
        (
            "mctl man --out /usr/local/share/man/man1",
            "install all pages",
        ),
    ],
};

/// When the pages last changed.
const DATE: &str = "2026-11-20";

#[derive(Args, Debug)]
struct ManArgs {
    /// The command whose page is wanted
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Option<OsString>,
    /// Write every page to this directory
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    out: Option<PathBuf>,
}

fn run(matches: &ArgMatches) -> Ended {
    let args =
        ManArgs::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    if let Some(dir) = &args.out {
        write_all(dir)?;
        return Ok(exit::DONE);
    }
    let entry =
        match &args.command {
            None => None,
            Some(name) => Some(ENTRIES.iter().find(|entry| name == entry.name).ok_or_else(
                || {
                    let names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
                    Fail::Usage {
                        why: format!("'{}' is no command of mctl", report::shown(name)),
                        hint: Some(format!("the commands are {}", names.join(", "))),
                    }
                },
            )?),
        };
    let mut out = Out::new();
    out.write_all(&page(entry)?)?;
    out.finish()?;
    Ok(exit::DONE)
}

fn write_all(dir: &Path) -> Result<(), Fail> {
    let failed = |path: &Path, error: &std::io::Error| {
        Fail::failed(format!("{}: {}", report::shown(path), plain(error)))
    };
    std::fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    for entry in std::iter::once(None).chain(ENTRIES.iter().map(Some)) {
        let path = dir.join(match entry {
            None => "mctl.1".to_owned(),
            Some(entry) => format!("mctl-{}.1", entry.name),
        });
        std::fs::write(&path, page(entry)?).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// One page: that of the whole command, or of one subcommand.
fn page(entry: Option<&Entry>) -> std::io::Result<Vec<u8>> {
    let mut whole = cli::command();
    whole.build();
    let (name, command, examples) = match entry {
        None => {
            let whole = whole.about("memory policy for whole processes");
            ("mctl".to_owned(), whole, EXAMPLES)
        }
        Some(entry) => {
            let name = format!("mctl-{}", entry.name);
            let command = whole
                .find_subcommand(entry.name)
                .cloned()
                .unwrap_or_else(|| Command::new(entry.name))
                .about(entry.about);
            (name, command, entry.examples)
        }
    };
    let has_subcommands = entry.is_none();
    let man = Man::new(command.display_name(name.clone()))
        .title(name.to_uppercase())
        .section("1")
        .date(DATE)
        .source(concat!("mctl ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if entry.is_some_and(|entry| entry.takes_policies) {
        policies(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    if has_subcommands {
        commands(&mut text)?;
    }
    statuses(&mut text, entry)?;
    section(&mut text, "EXAMPLES")?;
    for (line, what) in examples {
        write!(text, ".TP\n\\fB{}\\fR\n{}\n", escape(line), escape(what))?;
    }
    see_also(&mut text, entry)?;
    Ok(text)
}

fn section(text: &mut Vec<u8>, name: &str) -> std::io::Result<()> {
    writeln!(text, ".SH \"{name}\"")
}

fn policies(text: &mut Vec<u8>) -> std::io::Result<()> {
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

fn commands(text: &mut Vec<u8>) -> std::io::Result<()> {
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

fn statuses(text: &mut Vec<u8>, entry: Option<&Entry>) -> std::io::Result<()> {
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

fn see_also(text: &mut Vec<u8>, entry: Option<&Entry>) -> std::io::Result<()> {
    section(text, "SEE ALSO")?;
    let ours = std::iter::once("mctl".to_owned())
        .chain(ENTRIES.iter().map(|other| format!("mctl-{}", other.name)))
        .filter(|name| {
            *name != entry.map_or("mctl".to_owned(), |entry| format!("mctl-{}", entry.name))
        })
        .map(|name| format!("\\fB{}\\fR(1)", escape(&name)));
    let others = [("prctl", 2), ("madvise", 2), ("proc_pid_smaps", 5)]
        .map(|(name, number)| format!("\\fB{name}\\fR({number})"));
    let all: Vec<String> = ours.chain(others).collect();
    writeln!(text, "{}", all.join(",\n"))
}

/// Text for roff: backslashes, hyphens, and lines that begin like a request.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}
