//! `mctl completions`: what a shell needs to complete our command lines.

use std::io::Write;

use clap::builder::PossibleValuesParser;
use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};
use clap_complete::Shell;

use crate::cli::{self, Entry};
use crate::exit;
use crate::fail::{Ended, Fail};
use crate::output::Out;
use crate::words;

pub(crate) const ENTRY: Entry = Entry {
    name: "completions",
    about: "print the completions for a shell",
    long: "They are made from the same tree of commands as the help.",
    define: Completions::augment_args,
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl completions bash > /etc/bash_completion.d/mctl",
            "complete mctl in every new bash",
        ),
        ("mctl completions fish > mctl.fish", "the same for fish"),
    ],
};

#[derive(Args, Debug)]
struct Completions {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Word,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// GNU bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

fn run(matches: &ArgMatches) -> Ended {
    let args =
        Completions::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let mut out = Out::new();
    out.write_all(&script(args.shell))?;
    out.finish()?;
    Ok(exit::DONE)
}

fn script(shell: Word) -> Vec<u8> {
    let mut command = cli::command();
    // All subcommands must be there before one of them can be changed.
    command.build();
    for name in ["set", "clear"] {
        command = command.mut_subcommand(name, |sub| {
            sub.mut_arg("words", |arg| {
                arg.value_parser(PossibleValuesParser::new(words::policy_words()))
            })
        });
    }
    let shell = match shell {
        Word::Bash => Shell::Bash,
        Word::Zsh => Shell::Zsh,
        Word::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "mctl", &mut script);
    script
}
