//! `mctl model`: the contract's semantics, tried by hand.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, FromArgMatches, Subcommand, ValueEnum};
use mctl_conformance::backend::engine::deputy;
use mctl_conformance::backend::model::ModelBackend;
use mctl_conformance::backend::stock::StockBackend;
use mctl_conformance::backend::{Backend, Trouble};
use mctl_conformance::draw;
use mctl_conformance::repl::{FileRun, repl_on, run_file_on};
use mctl_conformance::run::Verdict;

use crate::cli::Entry;
use crate::exit;
use crate::fail::{Ended, Fail, plain};
use crate::output::Out;
use crate::report;

pub(crate) const ENTRY: Entry = Entry {
    name: "model",
    about: "try policies and memory calls on a model of the kernel",
    long: "'mctl model run' runs a scenario, one step a line, and draws the address spaces after \
           every step; 'mctl model repl' reads steps and answers each. A step is what a process \
           does (map, madvise, mctl, fork, exec, touch, ...) or something that is expected. The \
           language is in docs/design/model.md. On the backend 'stock' real processes do the \
           steps and the library acts on them; that needs root. On 'native' they make a patched \
           kernel's own call.",
    define: |command| Model::augment_args(command).disable_help_subcommand(true),
    run,
    takes_policies: false,
    examples: &[
        (
            "mctl model run policy.case",
            "run a scenario on the model and draw it",
        ),
        (
            "mctl model run policy.case --backend stock --svg trace.svg",
            "run it with real processes, and draw it as SVG too",
        ),
        ("mctl model repl", "type steps and see what comes of them"),
    ],
};

#[derive(Args, Debug)]
struct Model {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run a scenario and draw the address spaces after every step
    Run {
        /// The scenario
        file: PathBuf,
        /// Who does the steps
        #[arg(long, value_enum, default_value = "model")]
        backend: On,
        /// Write the drawing as SVG too
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read steps and answer each
    Repl {
        /// Who does the steps
        #[arg(long, value_enum, default_value = "model")]
        backend: On,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum On {
    /// The executable model
    Model,
    /// Real processes on this kernel, and the library
    Stock,
    /// Real processes on a kernel with the system call
    Native,
}

impl On {
    fn start(self) -> Result<Box<dyn Backend>, Fail> {
        Ok(match self {
            On::Model => Box::new(ModelBackend::default()),
            On::Stock => {
                let program = std::env::current_exe().map_err(|error| {
                    Fail::failed(format!("this program's path: {}", plain(&error)))
                })?;
                Box::new(StockBackend::with_library(program).map_err(impossible)?)
            }
            On::Native => Box::new(StockBackend::native().map_err(impossible)?),
        })
    }
}

fn impossible(trouble: Trouble) -> Fail {
    Fail::failed(trouble.to_string())
}

fn run(matches: &ArgMatches) -> Ended {
    let args = Model::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    match args.what {
        What::Run {
            file,
            backend,
            svg,
            json,
        } => run_scenario(&file, backend, svg.as_deref(), json),
        What::Repl { backend } => {
            let mut backend = backend.start()?;
            repl_on(
                backend.as_mut(),
                std::io::stdin().lock(),
                std::io::stdout().lock(),
            )
            .map_err(|error| match error.downcast::<std::io::Error>() {
                Ok(error) => Fail::Output(error),
                Err(error) => Fail::failed(format!("{error:#}")),
            })?;
            Ok(exit::DONE)
        }
    }
}

fn run_scenario(file: &Path, on: On, svg: Option<&Path>, json: bool) -> Ended {
    let mut backend = on.start()?;
    // A scenario that cannot be read or makes no sense is a mistake of the command line.
    let run =
        run_file_on(file, backend.as_mut()).map_err(|error| Fail::usage(format!("{error:#}")))?;
    if let Some(path) = svg {
        std::fs::write(path, draw::svg(&run.frames))
            .map_err(|error| Fail::failed(format!("{}: {}", report::shown(path), plain(&error))))?;
    }
    let mut out = Out::new();
    if json {
        out.json(&run.json())?;
    } else {
        out.write_all(draw::text(&run.frames).as_bytes())?;
    }
    out.finish()?;
    verdict(file, &run)
}

fn verdict(file: &Path, run: &FileRun) -> Ended {
    match &run.verdict {
        Verdict::Holds => Ok(exit::DONE),
        Verdict::Differs {
            line,
            step,
            wanted,
            got,
        } => Err(Fail::failed(format!(
            "{}:{line}: {step}: wanted {wanted}, got {got}",
            report::shown(file)
        ))),
        Verdict::NotPossible(why) | Verdict::Unsupported(why) => Err(Fail::failed(format!(
            "{}: not possible here: {why}",
            report::shown(file)
        ))),
    }
}

/// Acts for the processes of a scenario: what the program is started again for.
pub(crate) fn act() -> u8 {
    match deputy() {
        Ok(()) => exit::DONE,
        Err(trouble) => Fail::failed(trouble.to_string()).report(),
    }
}
