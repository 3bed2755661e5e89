//! `mctl-conformance model`: the contract's semantics, tried by hand.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use mctl_conformance::backend::model::ModelBackend;
use mctl_conformance::backend::stock::StockBackend;
use mctl_conformance::backend::{Backend, Trouble};
use mctl_conformance::draw;
use mctl_conformance::repl::{FileRun, repl, run_file, scenario};
use mctl_conformance::run::Verdict;
use mctl_conformance::side::{self, side_by_side};
use mctl_model::{KERNELS, Kernel};

use crate::{Ended, On};

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Run a scenario and draw the address spaces after every step
    Run {
        /// The scenario: a file, or the name of a case
        file: PathBuf,
        /// Where the steps are done
        #[arg(long, value_enum, default_value = "model")]
        backend: On,
        /// Play this kernel: 6.1, 6.12, 6.18 or 7.3 (the model only)
        #[arg(long, value_parser = kernel)]
        kernel: Option<Kernel>,
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
        /// Play this kernel: 6.1, 6.12, 6.18 or 7.3 (the model only)
        #[arg(long, value_parser = kernel)]
        kernel: Option<Kernel>,
    },
    /// Do the steps of a scenario on the model and on this kernel, and show where they differ
    Diff {
        /// The scenario: a file, or the name of a case
        file: PathBuf,
        /// What the model is held to
        #[arg(long = "with", value_enum, default_value = "stock")]
        other: On,
        /// Hold it to the model of this kernel instead: 6.1, 6.12, 6.18 or 7.3
        #[arg(long, value_parser = kernel, conflicts_with = "other")]
        kernel: Option<Kernel>,
    },
}

impl Model {
    pub(crate) fn go(self) -> Result<Ended> {
        match self {
            Model::Run {
                file,
                backend,
                kernel,
                svg,
                json,
            } => run_scenario(&file, start(backend, kernel)?, svg.as_deref(), json),
            Model::Diff {
                file,
                other,
                kernel,
            } => diff(&file, other, kernel),
            Model::Repl { backend, kernel } => {
                let mut backend = start(backend, kernel)?;
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

fn kernel(name: &str) -> Result<Kernel, String> {
    Kernel::named(name).ok_or_else(|| {
        let known = KERNELS.map(|(major, minor)| format!("{major}.{minor}"));
        format!("the model plays {}", known.join(", "))
    })
}

fn start(on: On, kernel: Option<Kernel>) -> Result<Box<dyn Backend>> {
    match (on, kernel) {
        (On::Model, Some(kernel)) => Ok(Box::new(ModelBackend::default().under(kernel))),
        (_, None) => on.start(false),
        (_, Some(_)) => bail!("--kernel is for the model: a real kernel is what it is"),
    }
}

/// The model, on a host like this one, beside this kernel; or beside the model of another kernel.
fn diff(file: &Path, other: On, kernel: Option<Kernel>) -> Result<Ended> {
    let mut scenario = scenario(file)?;
    if kernel.is_some() {
        // What the kernels differ in is what is asked for.
        scenario.needs = scenario.needs.on_any_kernel();
    }
    let (mut left, mut right, name): (_, Box<dyn Backend>, _) = match (other, kernel) {
        (_, Some(kernel)) => (
            ModelBackend::default(),
            Box::new(ModelBackend::default().under(kernel)),
            "there",
        ),
        (On::Model, None) => (
            ModelBackend::default(),
            Box::new(ModelBackend::default()),
            "again",
        ),
        (On::Stock | On::Native, None) => {
            let (real, name) = if other == On::Native {
                (StockBackend::native()?, "native")
            } else {
                (crate::stock()?, "stock")
            };
            let model = ModelBackend::new(real.image().clone()).on_host(real.host().clone());
            (model, Box::new(real), name)
        }
    };
    let pairs = match side_by_side(&scenario, &mut left, right.as_mut()) {
        Ok(pairs) => pairs,
        Err(Trouble::NotPossible(why) | Trouble::Unsupported(why)) => {
            crate::say(&format!("{}: not possible here: {why}", file.display()));
            return Ok(Ended::NothingHeld);
        }
        Err(broken) => return Err(broken.into()),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    out.write_all(side::text(&pairs, ["model", name]).as_bytes())?;
    out.flush()?;
    Ok(Ended::well(pairs.iter().all(side::Pair::same)))
}

fn run_scenario(
    file: &Path,
    mut backend: Box<dyn Backend>,
    svg: Option<&Path>,
    json: bool,
) -> Result<Ended> {
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
