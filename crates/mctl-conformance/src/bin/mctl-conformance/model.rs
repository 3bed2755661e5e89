//! `mctl-conformance model`: the contract's semantics, tried by hand.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use mctl_conformance::draw;
use mctl_conformance::repl::{FileRun, repl, run_file};
use mctl_conformance::run::Verdict;

use crate::{Ended, On};

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Run a scenario and draw the address spaces after every step
    Run {
        /// The scenario
        file: PathBuf,
        /// Where the steps are done
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
        /// Where the steps are done
        #[arg(long, value_enum, default_value = "model")]
        backend: On,
    },
}

impl Model {
    pub(crate) fn go(self) -> Result<Ended> {
        match self {
            Model::Run {
                file,
                backend,
                svg,
                json,
            } => run_scenario(&file, backend, svg.as_deref(), json),
            Model::Repl { backend } => {
                let mut backend = backend.start(false)?;
                repl(
                    backend.as_mut(),
                    std::io::stdin().lock(),
                    std::io::stdout().lock(),
                )?;
                Ok(Ended::Well)
            }
        }
    }
}

fn run_scenario(file: &Path, on: On, svg: Option<&Path>, json: bool) -> Result<Ended> {
    let mut backend = on.start(false)?;
    let run = run_file(file, backend.as_mut())?;
    if let Some(path) = svg {
        std::fs::write(path, draw::svg(&run.frames))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut out, &run.json()).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
    } else {
        out.write_all(draw::text(&run.frames).as_bytes())?;
    }
    out.flush()?;
    Ok(ended(file, &run))
}

/// Anything but success is said on standard error.
fn ended(file: &Path, run: &FileRun) -> Ended {
    let file = file.display();
    let (said, ended) = match &run.verdict {
        Verdict::Holds => return Ended::Well,
        Verdict::Differs {
            line,
            step,
            wanted,
            got,
        } => (
            format!("{file}:{line}: {step}: wanted {wanted}, got {got}"),
            Ended::Differs,
        ),
        Verdict::NotPossible(why) | Verdict::Unsupported(why) => (
            format!("{file}: not possible here: {why}"),
            Ended::NothingHeld,
        ),
    };
    crate::say(&said);
    ended
}
