//! `mctl man`: the manual pages, made from the tree of commands.

mod concepts;
mod sections;

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
use sections::{
    columns, commands, environment, escape, files, policies, reasons, section, see_also, statuses,
    synopsis,
};

pub(crate) const ENTRY: Entry = Entry {
    name: "man",
    about: "print a manual page, or write all of them",
    long: "Without --out one page goes to standard output: mctl(1), that of the command named, or mctl(7) for 'concepts'.",
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
const DATE: &str = "2026-12-01";

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
    if args
        .command
        .as_deref()
        .is_some_and(|name| name == "concepts")
    {
        let mut out = Out::new();
        out.write_all(concepts::page(DATE).as_bytes())?;
        out.finish()?;
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
    let path = dir.join("mctl.7");
    std::fs::write(&path, concepts::page(DATE)).map_err(|error| failed(&path, &error))
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
    let usage = command.clone().render_usage().to_string();
    let man = Man::new(command.display_name(name.clone()))
        .title(name.to_uppercase())
        .section("1")
        .date(DATE)
        .source(concat!("mctl ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    synopsis(&mut text, &usage)?;
    man.render_description_section(&mut text)?;
    if entry.is_some_and(|entry| entry.takes_policies) {
        policies(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    if has_subcommands {
        commands(&mut text)?;
    }
    if entry.is_some_and(|entry| entry.name == "get") {
        columns(&mut text)?;
        reasons(&mut text)?;
    }
    statuses(&mut text, entry)?;
    if has_subcommands {
        environment(&mut text)?;
        files(&mut text)?;
    }
    section(&mut text, "EXAMPLES")?;
    for (line, what) in examples {
        write!(text, ".TP\n\\fB{}\\fR\n{}\n", escape(line), escape(what))?;
    }
    see_also(&mut text, entry)?;
    Ok(text)
}
