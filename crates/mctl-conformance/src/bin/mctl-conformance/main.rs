//! The suite as a command.

#![forbid(unsafe_code)]

mod model;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use mctl_conformance::backend::Backend;
use mctl_conformance::backend::engine::{DEPUTY, deputy};
use mctl_conformance::backend::model::ModelBackend;
use mctl_conformance::backend::stock::StockBackend;
use mctl_conformance::control::{Controls, idle_steps};
use mctl_conformance::fuzz::{FuzzOptions, Menu, fuzz};
use mctl_conformance::lang::Needs;
use mctl_conformance::machine;
use mctl_conformance::matrix::{refreshed, with_report};
use mctl_conformance::report::{Report, built_in, load};
use mctl_model::Mutant;

/// Hold the model and this kernel to the mctl contract
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 all held; 1 something differs; 2 could not run; \
                  3 a backend held no sentence at all (every one was passed over)"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum On {
    /// The executable model
    Model,
    /// The library on this kernel
    Stock,
    /// The system call of a patched kernel
    Native,
}

impl On {
    fn start(self, arrange_host: bool) -> Result<Box<dyn Backend>> {
        Ok(match self {
            On::Model => Box::new(ModelBackend::default()),
            On::Stock => Box::new(arranging(stock()?, arrange_host)),
            On::Native => Box::new(arranging(StockBackend::native()?, arrange_host)),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the cases and report every sentence
    Run {
        /// A folder of cases, or one; without it those that were built in
        cases: Option<PathBuf>,
        /// Where to run them (more than once for several)
        #[arg(long = "backend", value_enum, default_values = ["model", "stock"])]
        backends: Vec<On>,
        /// Set the host's knobs as each case asks, and put them back at the end (on a throw-away
        /// machine only: it concerns every process there)
        #[arg(long)]
        arrange_host: bool,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
        /// Write the report as JUnit XML
        #[arg(long)]
        junit: Option<PathBuf>,
        /// List the sentences that hold too
        #[arg(long)]
        all: bool,
    },
    /// Try policies and memory calls by hand: a scenario, or step by step (the language is in
    /// docs/design/model.md)
    Model {
        #[command(subcommand)]
        what: model::Model,
    },
    /// Run the suite's own controls on the model: faults that it has to notice
    Controls {
        /// Write the page here
        #[arg(long)]
        write: Option<PathBuf>,
        /// Take each step out in turn instead, and list those without which a case still holds
        #[arg(long, conflicts_with = "write")]
        without_steps: bool,
    },
    /// Write the policy machine out whole: as a table in reStructuredText, or as a graph for Graphviz
    Machine {
        /// The graph
        #[arg(long)]
        dot: bool,
        /// Write both into this folder, as policy-machine.rst and policy-machine.dot
        #[arg(long, conflicts_with = "dot")]
        write: Option<PathBuf>,
    },
    /// Give docs/kernel-matrix.md a row for each case and no other
    Matrix {
        /// The page
        page: PathBuf,
        /// Give this kernel's column the marks of a report (`run --json` there): KERNEL=FILE
        #[arg(long, value_name = "KERNEL=FILE")]
        report: Vec<String>,
    },
    /// Run random histories on the model and this kernel side by side
    Fuzz {
        /// Seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Where random numbers begin
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// mctl and process_madvise too
        #[arg(long)]
        policy: bool,
        /// Give up after this many disagreements
        #[arg(long, default_value_t = 1)]
        stop_after: usize,
    },
}

fn arranging(mut backend: StockBackend, arrange_host: bool) -> StockBackend {
    if arrange_host {
        backend.arrange_host();
    }
    backend
}

/// The library on this kernel, with this program as its deputies.
fn stock() -> Result<StockBackend> {
    let program = std::env::current_exe().context("cannot tell this program's path")?;
    Ok(StockBackend::with_library(program)?)
}

/// One line on standard error. Names of files may hold control characters, which are escaped. Standard error
/// that cannot be written leaves nobody to tell.
fn say(what: &str) {
    let line = format!("mctl-conformance: {}\n", mctl::printable(what.as_bytes()));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == DEPUTY)
    {
        return match deputy() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&error.to_string());
                ExitCode::from(2)
            }
        };
    }
    // The command is done where nobody reads on: `mctl-conformance … | head`.
    let closed = |error: &anyhow::Error| {
        let cause = error.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
    };
    match go(Cli::parse()) {
        Err(error) if closed(&error) => ExitCode::SUCCESS,
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Differs) => ExitCode::FAILURE,
        Ok(Ended::NothingHeld) => ExitCode::from(3),
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

/// How a command ended.
enum Ended {
    /// Everything held.
    Well,
    /// Something differed.
    Differs,
    /// On some backend no sentence was held: nothing was shown there.
    NothingHeld,
}

impl Ended {
    fn well(yes: bool) -> Ended {
        if yes { Ended::Well } else { Ended::Differs }
    }
}

fn go(cli: Cli) -> Result<Ended> {
    let mut out = std::io::stdout();
    match cli.command {
        Command::Run {
            cases,
            backends,
            arrange_host,
            json,
            junit,
            all,
        } => {
            let cases = match cases {
                Some(folder) => load(&folder)?,
                None => built_in()?,
            };
            let mut made = Vec::new();
            for on in backends {
                made.push(on.start(arrange_host)?);
            }
            let mut backends: Vec<&mut dyn Backend> = Vec::new();
            for backend in &mut made {
                backends.push(backend.as_mut());
            }
            let report = Report::run(&cases, &mut backends);
            if let Some(path) = junit {
                std::fs::write(path, report.junit())?;
            }
            if json {
                writeln!(out, "{}", report.json()?)?;
            } else {
                write!(out, "{}", report.table(all))?;
            }
            if let Some(backend) = report.idle_backend() {
                say(&format!(
                    "not one sentence was held on {backend}: nothing was shown there"
                ));
                return Ok(Ended::NothingHeld);
            }
            Ok(Ended::well(report.is_clean()))
        }
        Command::Model { what } => what.go(),
        Command::Machine { dot, write } => {
            match write {
                Some(folder) => {
                    std::fs::write(folder.join("policy-machine.rst"), machine::table())?;
                    std::fs::write(folder.join("policy-machine.dot"), machine::dot())?;
                }
                None if dot => write!(out, "{}", machine::dot())?,
                None => write!(out, "{}", machine::table())?,
            }
            Ok(Ended::Well)
        }
        Command::Matrix { page, report } => {
            let text = std::fs::read_to_string(&page)?;
            let mut new = refreshed(&text, &built_in()?).context("the page has no table")?;
            for report in report {
                let (kernel, file) = report.split_once('=').context("--report KERNEL=FILE")?;
                let json = std::fs::read(file).with_context(|| file.to_owned())?;
                let json = serde_json::from_slice(&json).with_context(|| file.to_owned())?;
                new = with_report(&new, kernel, &json).map_err(anyhow::Error::msg)?;
            }
            std::fs::write(page, new)?;
            Ok(Ended::Well)
        }
        Command::Controls {
            without_steps: true,
            ..
        } => {
            for idle in idle_steps(&built_in()?) {
                writeln!(out, "{}:{}: {}", idle.case, idle.line, idle.step)?;
            }
            Ok(Ended::Well)
        }
        Command::Controls { write, .. } => {
            let controls = Controls::run(&built_in()?);
            let page = controls.markdown();
            match write {
                Some(path) => std::fs::write(path, &page)?,
                None => write!(out, "{page}")?,
            }
            let all = Mutant::ALL.iter();
            let noticed = |mutant: &&Mutant| !controls.at_its_sentence(**mutant).is_empty();
            Ok(Ended::well(
                all.clone().filter(noticed).count() == all.len(),
            ))
        }
        Command::Fuzz {
            seconds,
            seed,
            policy,
            stop_after,
        } => {
            let mut stock = stock()?;
            let mut model = ModelBackend::new(stock.image().clone()).on_host(stock.host().clone());
            let options = FuzzOptions {
                menu: if policy { Menu::Policy } else { Menu::Plain },
                seed,
                time: Duration::from_secs(seconds),
                stop_after,
                needs: Needs::all_of(stock.host()),
                ..FuzzOptions::default()
            };
            let report = fuzz(&options, &mut model, &mut stock)?;
            let seconds = report.time.as_secs_f64();
            if report.steps == 0 {
                bail!("no step could be run");
            }
            writeln!(
                out,
                "{} steps in {} histories, {seconds:.1} s, {:.0} steps/s, {} not reproduced, {} disagreements",
                report.steps,
                report.histories,
                f64::from(u32::try_from(report.steps).unwrap_or(u32::MAX)) / seconds,
                report.not_reproduced,
                report.disagreements.len()
            )?;
            for (_, text) in &report.disagreements {
                writeln!(out, "----\n{text}")?;
            }
            Ok(Ended::well(report.disagreements.is_empty()))
        }
    }
}
