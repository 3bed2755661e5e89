//! Real programs that mctl is used on: do their timers keep the pace of an undisturbed twin, and how often can they
//! be changed?
//!
//! Each program is started twice, alike. One is treated, the other left alone, in the same span of time; what the
//! timers of both did is compared. A control, in which neither is treated, says how much two equal programs differ on
//! this machine. Everything that is acted on was started here, and ends here.

mod net;
mod pace;
mod programs;
mod room;
mod table;
mod ticks;
mod treat;
mod useful;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::layout::Layout;
use programs::Program;

#[derive(Debug, Subcommand)]
pub(crate) enum Tries {
    /// Programs that nobody here wrote: their timers beside those of an undisturbed twin, and how often a set succeeds
    Real(Real),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Real {
    /// The programs; by default all. One that is not installed makes the exit status 1
    #[arg(value_enum)]
    programs: Vec<Program>,
    /// What to do; may be given more than once, by default everything
    #[arg(long = "part", value_enum)]
    parts: Vec<Part>,
    /// The mctl to try; by default that of the release build
    #[arg(long)]
    mctl: Option<PathBuf>,
    /// Seconds that each comparison with the twin lasts
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(4..=3600))]
    seconds: u64,
    /// How often a set is tried, idle and under load each
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tries: u32,
    /// Also write what was seen to this file, one JSON object a line
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is done with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    /// Neither of the twins is treated
    Control,
    /// `mctl get --tree` every 100 ms
    Reads,
    /// The same, and a set or a clear every second
    Changes,
    /// A set or a clear again and again: how many succeed, with the program idle
    Idle,
    /// The same under load
    Load,
}

impl Part {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// One line of what was seen.
#[derive(Debug, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
enum Seen {
    Host(Host),
    Pace(pace::Compared),
    Useful(useful::Useful),
    /// A program that could not be tried, or a part of the trial that could not be made.
    Missing {
        program: Program,
        part: Option<Part>,
        why: String,
    },
}

/// Where this was seen.
#[derive(Debug, Serialize)]
struct Host {
    mctl: String,
    kernel: String,
    processors: usize,
    load: String,
}

/// Runs the trials; whether everything was as promised.
pub(crate) fn run(layout: &Layout, tries: Tries) -> Result<bool> {
    let Tries::Real(real) = tries;
    let mctl = real
        .mctl
        .clone()
        .unwrap_or_else(|| layout.target.join("release/mctl"));
    if !mctl.is_file() {
        bail!(
            "no mctl at {}: cargo build --release -p mctl-cli, or --mctl FILE",
            mctl.display()
        );
    }
    let mctl = std::path::absolute(mctl)?;
    let parts = if real.parts.is_empty() {
        Part::value_variants()
    } else {
        &real.parts
    };
    let chosen = if real.programs.is_empty() {
        Program::value_variants()
    } else {
        &real.programs
    };
    let temp = tempfile::Builder::new().prefix("mctl-tries.").tempdir()?;
    // Some of the programs run as another user.
    open_to_all(temp.path())?;
    let mut report = Report::new(real.json.as_deref())?;
    report.add(Seen::Host(host(&mctl)?))?;
    for program in chosen.iter().copied() {
        if let Err(error) = program.is_there() {
            report.add(Seen::Missing {
                program,
                part: None,
                why: format!("{error:#}"),
            })?;
            continue;
        }
        for part in parts.iter().copied() {
            let place = Place {
                layout,
                temp: temp.path(),
                mctl: &mctl,
            };
            match try_part(&place, &real, program, part) {
                Ok(seen) => seen.into_iter().try_for_each(|seen| report.add(seen))?,
                Err(error) => {
                    let why = format!("{error:#}");
                    report.add(Seen::Missing {
                        program,
                        part: Some(part),
                        why,
                    })?;
                }
            }
        }
    }
    crate::say(&table::of(&report.seen));
    Ok(report.seen.iter().all(Seen::is_as_promised))
}

/// Where things are during a run.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    layout: &'a Layout,
    temp: &'a Path,
    mctl: &'a Path,
}

fn try_part(place: &Place<'_>, real: &Real, program: Program, part: Part) -> Result<Vec<Seen>> {
    match part {
        Part::Control | Part::Reads | Part::Changes => {
            let compared = pace::compare(place, program, part, real.seconds)?;
            Ok(compared.into_iter().map(Seen::Pace).collect())
        }
        Part::Idle | Part::Load => Ok(vec![Seen::Useful(useful::count(
            place, program, part, real.tries,
        )?)]),
    }
}

impl Seen {
    fn is_as_promised(&self) -> bool {
        match self {
            Seen::Host(_) => true,
            Seen::Pace(compared) => compared.part == Part::Control || compared.kept,
            Seen::Useful(useful) => useful.is_enough(),
            Seen::Missing { .. } => false,
        }
    }
}

/// What was seen so far; written when it is seen, so that an end half way loses nothing.
#[derive(Debug)]
struct Report {
    file: Option<std::fs::File>,
    seen: Vec<Seen>,
}

impl Report {
    fn new(file: Option<&Path>) -> Result<Report> {
        let create =
            |path: &Path| std::fs::File::create(path).with_context(|| path.display().to_string());
        Ok(Report {
            file: file.map(create).transpose()?,
            seen: Vec::new(),
        })
    }

    fn add(&mut self, seen: Seen) -> Result<()> {
        let line = serde_json::to_string(&seen)?;
        crate::say(&line);
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}")?;
        }
        self.seen.push(seen);
        Ok(())
    }
}

fn open_to_all(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(
        dir,
        std::fs::Permissions::from_mode(0o755),
    )?)
}

fn host(mctl: &Path) -> Result<Host> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Ok(Host {
        mctl: crate::run::text(std::process::Command::new(mctl).arg("--version"))?
            .trim()
            .to_owned(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        processors: std::thread::available_parallelism()?.get(),
        load: read("/proc/loadavg")
            .split(' ')
            .take(3)
            .collect::<Vec<_>>()
            .join(" "),
    })
}
