//! `mctl explain`: which clause of a specification is behind an error number.

mod clauses;
mod own;

use std::io::Write;

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::Errno;
use serde::Serialize;

use crate::cli::Entry;
use crate::exit;
use crate::fail::{Ended, Fail};
use crate::output::Out;
use crate::words::did_you_mean;
use clauses::{CLAUSES, Clause};
use own::OWN;

pub(crate) const ENTRY: Entry = Entry {
    name: "explain",
    about: "tell which rule of which call is behind an error",
    long: "The answer is taken from the specifications of the calls that a command makes, the ones \
           that the pages of section 2 are made from, and from the rules of mctl itself. Without a command, from all of them. The \
           condition is written in the language of the specifications: a call fails with the error \
           where it holds.",
    define: Explain::augment_args,
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl explain EPERM set",
            "say why setting a policy is not permitted",
        ),
        ("mctl explain 95", "the same for a number, in every command"),
    ],
};

#[derive(Args, Debug)]
struct Explain {
    /// The error, by name or number
    #[arg(value_name = "ERRNO")]
    errno: String,

    /// The command that failed with it
    #[arg(value_name = "COMMAND")]
    command: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The calls behind each command, in the order in which it makes them.
const BEHIND: &[(&str, &[&str])] = &[
    (
        "run",
        &[
            "mctl",
            "prctl_set_thp_disable",
            "prctl_set_memory_merge",
            "madvise",
        ],
    ),
    ("set", SETTING),
    ("clear", SETTING),
    ("restore", SETTING),
    (
        "get",
        &[
            "pidfd_open",
            "mctl",
            "prctl_get_thp_disable",
            "prctl_get_memory_merge",
        ],
    ),
    ("map", &["pidfd_open"]),
    ("advise", ADVISING),
    ("pageout", ADVISING),
    ("cold", ADVISING),
    ("collapse", ADVISING),
    ("split", ADVISING),
    ("lock", &["pidfd_open", "mlockall"]),
    ("unlock", &["pidfd_open", "munlockall"]),
];
const SETTING: &[&str] = &[
    "pidfd_open",
    "mctl",
    "prctl_set_thp_disable",
    "prctl_set_memory_merge",
    "madvise",
];
const ADVISING: &[&str] = &[
    "pidfd_open",
    "mctl_process_madvise",
    "process_madvise",
    "madvise",
];

#[derive(Serialize)]
struct Found<'a> {
    errno: &'a str,
    command: Option<&'a str>,
    clauses: Vec<&'static Clause>,
}

fn run(matches: &ArgMatches) -> Ended {
    let args =
        Explain::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let errno = errno(&args.errno)?;
    let calls = args.command.as_deref().map(calls).transpose()?;
    let holds = |own: &&'static own::Own| {
        let command = args.command.as_deref();
        command.is_none_or(|command| own.commands.contains(&command))
    };
    // What mctl looks at comes before what the kernel says.
    let ours = OWN.iter().filter(holds).map(|own| &own.clause);
    let mut theirs: Vec<&'static Clause> = CLAUSES
        .iter()
        .filter(|clause| calls.is_none_or(|calls| calls.contains(&clause.call)))
        .collect();
    if let Some(calls) = calls {
        theirs.sort_by_key(|clause| calls.iter().position(|call| *call == clause.call));
    }
    let clauses: Vec<&'static Clause> = ours
        .chain(theirs)
        .filter(|clause| clause.errno == errno)
        .collect();
    if clauses.is_empty() {
        let whose = match &args.command {
            Some(command) => format!("no call behind 'mctl {command}' is"),
            None => "no call that mctl makes is".to_owned(),
        };
        let why = format!("{whose} specified to fail with {errno}");
        return Err(Fail::Failed { why, hint: None });
    }
    let found = Found {
        errno: &errno,
        command: args.command.as_deref(),
        clauses,
    };
    let mut out = Out::new();
    if args.json {
        out.json(&found)?;
    } else {
        found.print(&mut out)?;
    }
    out.finish()?;
    Ok(exit::DONE)
}

/// The name of an error that was given by name or number.
fn errno(text: &str) -> Result<String, Fail> {
    let upper = text.to_ascii_uppercase();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if let Ok(number) = digits.parse::<i32>() {
        return Errno::from_raw(number)
            .name()
            .map(str::to_owned)
            .ok_or_else(|| Fail::usage(format!("{number} is not the number of an error")));
    }
    let names = || (1..=133).filter_map(|number| Errno::from_raw(number).name());
    if names().any(|name| name == upper) {
        return Ok(upper);
    }
    let lower: Vec<String> = names().map(str::to_ascii_lowercase).collect();
    let similar = did_you_mean(text, lower.iter().map(String::as_str)).to_ascii_uppercase();
    // Only the name is in capitals.
    let similar = similar.replace("; DID YOU MEAN", "; did you mean");
    Err(Fail::usage(format!("'{text}' is not an error{similar}")))
}

fn calls(command: &str) -> Result<&'static [&'static str], Fail> {
    BEHIND
        .iter()
        .find_map(|(name, calls)| (*name == command).then_some(*calls))
        .ok_or_else(|| {
            let words = || BEHIND.iter().map(|(name, _)| *name);
            let similar = did_you_mean(command, words());
            Fail::Usage {
                why: format!("'{command}' is not a command that acts on processes{similar}"),
                hint: Some(format!(
                    "the commands are {}",
                    words().collect::<Vec<_>>().join(", ")
                )),
            }
        })
}

impl Found<'_> {
    fn print(&self, out: &mut Out) -> std::io::Result<()> {
        for (n, clause) in self.clauses.iter().enumerate() {
            if n > 0 {
                writeln!(out)?;
            }
            // A rule of our own names its section.
            let section = if clause.call.ends_with(')') {
                ""
            } else {
                "(2)"
            };
            writeln!(
                out,
                "{}{section}: {} ({})",
                clause.call, clause.summary, clause.id
            )?;
            if !clause.condition.is_empty() {
                writeln!(out, "  when: {}", clause.condition)?;
            }
            for line in clause.description.lines() {
                writeln!(out, "  {line}")?;
            }
        }
        Ok(())
    }
}
