//! `kapi convert`

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use kapi::emit::{Format, emit, man_page, man_volume, requirements, verified};
use kapi::ir::Spec;

use super::input::Input;
use super::{Status, print};

/// Convert specifications to another form
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi convert --to man --output man2
  kapi convert -s drivers/foo.c --to syzlang
  kapi verify --all --json --log calls.log > seen.json
  kapi convert --to requirements --verified seen.json")]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,

    /// json, rst, man, markdown, html, kerneldoc, syzlang, macros, requirements or plain
    #[arg(long, short)]
    to: Format,

    /// The date of man pages, YYYY-MM-DD
    #[arg(long, default_value = "", hide_default_value = true)]
    date: String,

    /// Requirements: say what calls showed of each, from the output of kapi verify --json
    #[arg(long, value_name = "FILE")]
    verified: Option<PathBuf>,

    /// Write one file for each call into this directory instead of standard output
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let seen = match &args.verified {
        None => Vec::new(),
        Some(_) if args.to != Format::Requirements => {
            bail!("--verified goes with --to requirements only")
        }
        Some(path) => std::fs::read_to_string(path)
            .map_err(anyhow::Error::from)
            .and_then(|text| Ok(verified(&text)?))
            .with_context(|| format!("reading {}", path.display()))?,
    };
    let specs = args.input.specs()?;
    let emit = |specs: &[Spec], format| match format {
        Format::Man => specs.iter().map(|s| man_page(s, &args.date)).collect(),
        Format::Requirements => requirements(specs, &seen),
        _ => emit(specs, format),
    };
    let Some(dir) = &args.output else {
        print(&emit(&specs, args.to))?;
        return Ok(Status::Good);
    };
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let extension = match args.to {
        Format::Plain => "txt",
        Format::Json => "kapi.json",
        Format::Rst => "rst",
        // By the call: see below.
        Format::Man => "",
        Format::Markdown => "md",
        Format::Html => "html",
        Format::Kerneldoc => "kapi",
        Format::Syzlang => "syz.txt",
        Format::Macros => "c",
        Format::Requirements => "requirements.json",
    };
    if args.to == Format::Html {
        let path = dir.join("index.html");
        std::fs::write(&path, emit(&specs, args.to))
            .with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(Status::Good);
    }
    for spec in &specs {
        let name = spec.call_name();
        if name.contains(['/', '\0']) || name.starts_with('.') {
            bail!("`{name}` cannot be a file name");
        }
        let extension = match args.to {
            Format::Man => man_volume(spec),
            _ => extension,
        };
        let path = dir.join(format!("{name}.{extension}"));
        std::fs::write(&path, emit(std::slice::from_ref(spec), args.to))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Status::Good)
}
