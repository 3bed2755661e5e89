//! `kapi diff`

use std::path::PathBuf;

use anyhow::{Result, bail};
use kapi::diff::{Impact, diff};
use kapi::front::tree;
use kapi::ir::Spec;

use super::input::report;
use super::{Status, print};

/// Compare two versions of specifications; exit status 1 on a breaking change
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi diff v1.patch v2.patch
  kapi diff old new --fail-on text --json")]
pub(super) struct Args {
    /// The old file or tree
    old: PathBuf,
    /// The new file or tree
    new: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Fail from this impact on
    #[arg(long, default_value = "breaking", value_parser = ["text", "compatible", "breaking"])]
    fail_on: String,
}

fn read(path: &PathBuf) -> Result<Vec<Spec>> {
    let found = tree::read_paths(std::slice::from_ref(path), false);
    report(&found.parsed.diagnostics, kapi::diag::Severity::Error)?;
    if found.parsed.specs.is_empty() {
        bail!("no specification found in {}", path.display());
    }
    Ok(found.parsed.specs)
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let changes = diff(&read(&args.old)?, &read(&args.new)?);
    let limit = match args.fail_on.as_str() {
        "text" => Impact::Text,
        "compatible" => Impact::Compatible,
        _ => Impact::Breaking,
    };
    let failed = changes.iter().any(|c| c.impact >= limit);
    if args.json {
        print(&(serde_json::to_string_pretty(&changes)? + "\n"))?;
    } else {
        let word = |impact| match impact {
            Impact::Text => "text",
            Impact::Compatible => "compatible",
            Impact::Breaking => "BREAKING",
        };
        let mut text: String = changes
            .iter()
            .map(|c| {
                format!(
                    "{:10} {}: {}: {}\n",
                    word(c.impact),
                    c.call,
                    c.clause,
                    c.what
                )
            })
            .collect();
        if changes.is_empty() {
            text.push_str("no change\n");
        }
        print(&text)?;
    }
    Ok(if failed { Status::Found } else { Status::Good })
}
