//! `mctl run`: start a program under a policy.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;

use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};
use mctl::{AcrossExec, Exactness, HostCaps, PolicyKind, Request, Rule};

use crate::cli::Entry;
use crate::exit;
use crate::fail::{Ended, Fail, plain};
use crate::output::Out;
use crate::report;

pub(crate) const ENTRY: Entry = Entry {
    name: "run",
    about: "start a program under a policy",
    long: "mctl puts the policy in force on itself and then executes the program in its own place, \
           as nice(1) and env(1) do. The process number, the signals, the job control and the exit \
           status are the program's own. Neither root nor a running process is needed.",
    define: Run::augment_args,
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl run --thp never -- redis-server",
            "start a server without huge pages",
        ),
        (
            "mctl run --thp advised --inherit -- make -j8",
            "huge pages only where a program asks for them, also in every program that make starts",
        ),
        (
            "mctl run --thp inherit -- runc run box",
            "take off a policy that was inherited from a parent",
        ),
    ],
};

/// Which huge pages the program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ThpWord {
    /// Wherever neither the host nor the program forbids them
    Always,
    /// Only where the program asks by madvise(2)
    Advised,
    /// None
    Never,
    /// As the host says: take off what was inherited
    Inherit,
}

#[derive(Args, Debug)]
#[command(override_usage = "mctl run [OPTIONS] [--] PROGRAM [ARGUMENT]...")]
struct Run {
    /// Allow huge pages always, only where the program asks (advised), or never; or take off an inherited policy (inherit)
    #[arg(long, value_name = "WHEN", hide_possible_values = true)]
    thp: Option<ThpWord>,
    /// Let KSM merge equal pages in every compatible mapping
    #[arg(long)]
    merge: bool,
    /// Ask for the policy also in programs that the program executes
    #[arg(long)]
    inherit: bool,
    /// Fail where the kernel cannot do exactly what is asked
    #[arg(long)]
    strict: bool,
    /// Demand CAP_SYS_ADMIN for policies that survive exec
    #[arg(long)]
    admin: bool,
    /// Say nothing about what holds less than was asked
    #[arg(short, long)]
    quiet: bool,
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "PROGRAM",
        value_hint = clap::ValueHint::CommandWithArguments
    )]
    program: Vec<OsString>,
}

impl Run {
    /// What is asked: one request, or two where one takes off and the other puts on.
    fn requests(&self) -> Result<Vec<Request>, Fail> {
        let across = if self.inherit {
            AcrossExec::Inherit
        } else {
            AcrossExec::Ends
        };
        let mut requests = Vec::new();
        let mut kinds = Vec::new();
        match self.thp {
            Some(ThpWord::Always) => kinds.push(PolicyKind::Hugepage),
            Some(ThpWord::Advised) => kinds.push(PolicyKind::HugepageAdvised),
            Some(ThpWord::Never) => kinds.push(PolicyKind::Nohugepage),
            Some(ThpWord::Inherit) => requests.push(Request::clear(&[
                PolicyKind::Nohugepage,
                PolicyKind::HugepageAdvised,
            ])?),
            None => {}
        }
        if self.merge {
            kinds.push(PolicyKind::Mergeable);
        }
        if !kinds.is_empty() {
            requests.push(Request::set(&kinds, across)?);
        }
        if requests.is_empty() {
            return Err(Fail::Usage {
                why: "no policy was named".to_owned(),
                hint: Some("give --thp always|advised|never|inherit, or --merge".to_owned()),
            });
        }
        for request in &mut requests {
            if self.strict {
                request.exactness = Exactness::Strict;
            }
            if self.admin {
                request.rule = Rule::Admin;
            }
        }
        Ok(requests)
    }

    fn fail(&self, error: &mctl::Error) -> Fail {
        let hint = error.hint().or_else(|| {
            (self.strict && !self.inherit)
                .then(|| "with --inherit the policy is asked for as the kernel keeps it".to_owned())
        });
        Fail::Failed {
            why: error.to_string(),
            hint,
        }
    }
}

fn run(matches: &ArgMatches) -> Ended {
    let args = Run::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let requests = args.requests()?;
    let (Some(program), arguments) = (args.program.first(), args.program.get(1..)) else {
        return Err(Fail::usage("no program was named"));
    };
    if args.dry_run {
        return dry_run(&args, &requests);
    }
    for request in &requests {
        let caps = HostCaps::probe_for(&request.kinds())?;
        let outcome = mctl::launch(request, &caps).map_err(|error| args.fail(&error))?;
        if !args.quiet && !outcome.notes.is_empty() {
            let notes: Vec<String> = outcome.notes.iter().map(ToString::to_string).collect();
            report::note(&notes.join("; "));
        }
    }
    let words: Vec<&OsStr> = arguments
        .unwrap_or_default()
        .iter()
        .map(|word| &**word)
        .collect();
    // It returns only where it failed.
    let errno = mctl::exec_in_place(program, &words);
    let error = std::io::Error::from_raw_os_error(errno.raw());
    report::error(
        &format!("{}: {}", report::shown(program), plain(&error)),
        None,
    );
    Ok(match error.kind() {
        std::io::ErrorKind::NotFound => exit::NOT_FOUND,
        _ => exit::CANNOT_EXECUTE,
    })
}

fn dry_run(args: &Run, requests: &[Request]) -> Ended {
    let mut out = Out::new();
    for request in requests {
        let caps = HostCaps::probe_for(&request.kinds())?;
        let plan = mctl::launch_plan(request, &caps).map_err(|error| args.fail(&error))?;
        for step in &plan.steps {
            writeln!(out, "would call {step}")?;
        }
        for note in &plan.promised.notes {
            writeln!(out, "note: {note}")?;
        }
    }
    let words: Vec<String> = args
        .program
        .iter()
        .map(|word| mctl::printable(word.as_bytes()))
        .collect();
    writeln!(out, "would execute {}", words.join(" "))?;
    out.finish()?;
    Ok(exit::DONE)
}
