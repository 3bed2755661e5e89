//! The tree of commands, built lazily: only the subcommand that was named is built in full.

use std::ffi::OsString;
use std::io::Write as _;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::commands;
use crate::exit;
use crate::fail::{Ended, Fail};

/// One subcommand: what the tree, the help, the man pages and the tests need to know of it.
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: &'static str,
    /// One line: what it is for.
    pub(crate) about: &'static str,
    /// More, for `--help` and the man page.
    pub(crate) long: &'static str,
    /// Adds its arguments.
    pub(crate) define: fn(Command) -> Command,
    /// Does it.
    pub(crate) run: fn(&ArgMatches) -> Ended,
    /// Whether its words are policies.
    pub(crate) takes_policies: bool,
    /// A command line and what it does.
    pub(crate) examples: &'static [(&'static str, &'static str)],
}

impl Entry {
    fn command(&self) -> Command {
        Command::new(self.name)
            .about(capital(self.about))
            .defer(fill)
    }
}

/// Adds what a subcommand needs only where it is the one that was named.
fn fill(command: Command) -> Command {
    let Some(entry) = ENTRIES
        .iter()
        .find(|entry| entry.name == command.get_name())
    else {
        return command;
    };
    let mut after = examples_text(entry.examples);
    if entry.takes_policies {
        after = format!("{}\n\n{after}", policies_text());
    }
    if entry.name == "run" {
        after = format!("{after}\n\n{}", statuses_text(exit::RUN_TABLE));
    }
    crate::patience::define((entry.define)(command))
        .about(capital(entry.about))
        .long_about(format!("{}.\n\n{}", capital(entry.about), entry.long))
        .after_help(after)
}

/// Every subcommand, in the order of the help.
pub(crate) const ENTRIES: &[Entry] = &[
    commands::run::ENTRY,
    commands::set::ENTRY,
    commands::clear::ENTRY,
    commands::get::ENTRY,
    commands::map::ENTRY,
    commands::restore::ENTRY,
    commands::advise::ENTRY,
    commands::pageout::ENTRY,
    commands::cold::ENTRY,
    commands::collapse::ENTRY,
    commands::split::ENTRY,
    commands::lock::ENTRY,
    commands::unlock::ENTRY,
    commands::probe::ENTRY,
    commands::explain::ENTRY,
    commands::man::ENTRY,
    commands::completions::ENTRY,
];

/// The examples of the whole command.
pub(crate) const EXAMPLES: &[(&str, &str)] = &[
    (
        "mctl run --thp never -- sort words.txt",
        "start a program without huge pages",
    ),
    (
        "mctl set nohugepage --tree 1234",
        "take huge pages from a running process and all its descendants",
    ),
    (
        "mctl probe",
        "show what this kernel can do, and what you may do",
    ),
];

/// What every command has in common, for the man page.
pub(crate) const LONG_ABOUT: &str = "\
Sets, clears and shows memory policy for whole processes: huge pages always, never or only where \
the program asked for them, and same-page merging; on a running process, on a process with all \
its descendants, on a cgroup, or on a program about to start. It works on the kernel you have, \
and says where the kernel cannot do exactly what was asked.";

/// The whole tree.
pub(crate) fn command() -> Command {
    ENTRIES
        .iter()
        .fold(root(), |root, entry| root.subcommand(entry.command()))
}

fn root() -> Command {
    Command::new("mctl")
        .about("Memory policy for whole processes")
        .long_about(LONG_ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .subcommand_required(true)
        .arg_required_else_help(false)
        .infer_subcommands(false)
        .disable_help_subcommand(false)
        .subcommand_value_name("COMMAND")
        .subcommand_help_heading("Commands")
        .max_term_width(100)
        .after_help(format!(
            "{}\n\n{}",
            examples_text(EXAMPLES),
            statuses_text(exit::TABLE) + "\n  mctl run has its own: see mctl run --help"
        ))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

fn examples_text(examples: &[(&str, &str)]) -> String {
    let mut text = String::from("Examples:\n");
    for (line, what) in examples {
        text.push_str(&format!("  {line}\n      {what}\n"));
    }
    text.truncate(text.trim_end().len());
    text
}

/// The policies, from the table of actions.
fn policies_text() -> String {
    let mut text = String::from("Policies:");
    for kind in mctl::PolicyKind::ALL {
        let info = mctl::Action::of(mctl::Verb::Set, kind).info();
        text.push_str(&format!("\n  {:<16}  {}", info.word, info.summary));
    }
    text
}

fn statuses_text(table: &[(u8, &str)]) -> String {
    let mut text = String::from("Exit status:");
    for (code, meaning) in table {
        text.push_str(&format!("\n  {code:<3}  {meaning}"));
    }
    text
}

/// Parses the words and does what they say. Returns the exit code.
pub(crate) fn main(args: Vec<OsString>) -> u8 {
    let is_run = args.get(1).is_some_and(|word| word == "run");
    if !is_run {
        crate::limits::writes_fail();
    }
    let matches = match lean(&args).try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) => {
            let error = fit_to_be_shown(error, &args);
            crate::limits::writes_fail();
            let code = match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => exit::DONE,
                // As env(1) and nice(1): a code that is not the program's own.
                _ if is_run => exit::RUN_FAILED,
                _ => exit::USAGE,
            };
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            return match printed {
                Err(failed) if code == exit::DONE => Fail::Output(failed).report(),
                // Of errors, which go to standard error, nobody could be told.
                _ => code,
            };
        }
    };
    let Some((name, matches)) = matches.subcommand() else {
        return exit::USAGE;
    };
    let ended = match ENTRIES.iter().find(|entry| entry.name == name) {
        Some(entry) => {
            crate::patience::heed(name, matches);
            // However many processes do not answer, one second is what they cost.
            mctl::together(|| (entry.run)(matches))
        }
        None => Err(Fail::usage(format!("'{name}' is no command"))),
    };
    match ended {
        Ok(code) => code,
        Err(fail) if is_run => match fail.report() {
            exit::DONE => exit::DONE,
            _ => exit::RUN_FAILED,
        },
        Err(fail) => fail.report(),
    }
}

/// The parser shows the words that it does not understand as they are, and they may steer a terminal or begin a line
/// of their own. So where there are such, it is asked again with words that do not.
fn fit_to_be_shown(error: clap::Error, args: &[OsString]) -> clap::Error {
    let fit = |word: &OsString| OsString::from(crate::report::shown(word));
    let words: Vec<OsString> = args.iter().map(fit).collect();
    if words == args {
        return error;
    }
    let again = lean(&words).try_get_matches_from(&words);
    again.err().unwrap_or_else(|| {
        let why = "a word holds what is no text: control characters, or bytes that are not UTF-8";
        command().error(ErrorKind::InvalidValue, why)
    })
}

/// The tree with only the subcommand that was named, where one was; building the others costs
/// time that no one gets anything for.
fn lean(args: &[OsString]) -> Command {
    let named = args
        .get(1)
        .and_then(|word| ENTRIES.iter().find(|entry| word == entry.name));
    match named {
        Some(entry) => root()
            .disable_help_subcommand(true)
            .subcommand(entry.command()),
        None => command(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
        for entry in ENTRIES {
            (entry.define)(Command::new(entry.name)).debug_assert();
        }
    }

    #[test]
    fn every_command_has_its_file_of_tests() {
        let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        for entry in ENTRIES {
            let file = tests.join(format!("{}.rs", entry.name));
            assert!(file.exists(), "{}", file.display());
        }
    }

    #[test]
    fn every_command_has_an_example_and_every_example_parses() {
        let all = ENTRIES
            .iter()
            .map(|entry| (entry.name, entry.examples))
            .chain([("", EXAMPLES)]);
        for (name, examples) in all {
            assert!(!examples.is_empty(), "{name} has no example");
            for (line, what) in examples {
                assert!(!what.is_empty() && !what.ends_with('.'), "{line}: {what}");
                // One of the commands of a pipeline is ours, without its redirections.
                let ours = line
                    .split('|')
                    .map(str::trim)
                    .find_map(|part| part.strip_prefix("sudo ").or(Some(part)))
                    .unwrap();
                let words = ours.split_whitespace().take_while(|word| *word != ">");
                let words: Vec<&str> = words.collect();
                assert_eq!(words.first(), Some(&"mctl"), "{line}");
                if !name.is_empty() {
                    assert_eq!(words.get(1), Some(&name), "{line}");
                }
                if let Err(error) = command().try_get_matches_from(&words) {
                    panic!("{line}: {error}");
                }
            }
        }
    }

    #[test]
    fn help_lines_are_imperative_and_without_a_full_stop() {
        for entry in ENTRIES {
            assert!(!entry.about.ends_with('.'), "{}", entry.about);
            let command = (entry.define)(Command::new(entry.name));
            for arg in command.get_arguments() {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(
                    !help.is_empty(),
                    "{}: {} has no help",
                    entry.name,
                    arg.get_id()
                );
                assert!(!help.ends_with('.'), "{}: {help}", entry.name);
            }
        }
    }

    #[test]
    fn the_lean_tree_parses_like_the_whole() {
        for entry in ENTRIES {
            for (line, _) in entry.examples {
                let line = line.split(['|', '>']).next().unwrap();
                let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
                if words.first().is_some_and(|word| word == "mctl") {
                    let lean = lean(&words).try_get_matches_from(&words).unwrap();
                    let whole = command().try_get_matches_from(&words).unwrap();
                    assert_eq!(lean.subcommand(), whole.subcommand(), "{line}");
                }
            }
        }
    }
}
