//! `kapi list`

use anyhow::Result;
use kapi::diag::Severity;
use kapi::ir::{Corpus, SpecKind};
use serde_json::json;

use super::input::{Input, report};
use super::{Status, print};

/// List specifications
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi list
  kapi list -s linux/kernel --kind ioctl
  kapi list -s vmlinux --json")]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,

    /// Only this kind
    #[arg(long, value_parser = ["function", "ioctl", "sysfs"])]
    kind: Option<String>,

    /// Print names, summaries, counts and places as JSON; with --full, whole specifications
    #[arg(long)]
    json: bool,

    /// With --json: whole specifications, as `kapi schema` describes them
    #[arg(long, requires = "json")]
    full: bool,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let found = args.input.read(false)?;
    let worst = report(&found.parsed.diagnostics, Severity::Error)?;
    let mut specs = found.parsed.specs;
    if let Some(kind) = &args.kind {
        specs.retain(|s| s.kind.word() == kind);
    }
    if args.json && args.full {
        print(&(serde_json::to_string(&Corpus::new(specs))? + "\n"))?;
    } else if args.json {
        let rows: Vec<_> = specs
            .iter()
            .map(|s| json!({ "name": s.name, "kind": s.kind, "description": s.description, "items": s.item_count(), "file": &*s.span.file, "line": s.span.line }))
            .collect();
        print(
            &(serde_json::to_string_pretty(&json!({ "files": found.files, "specs": rows }))?
                + "\n"),
        )?;
    } else {
        let width = specs
            .iter()
            .map(|s| s.name.chars().count())
            .max()
            .unwrap_or(0)
            .min(40);
        let mut text = String::new();
        for s in &specs {
            let kind = if s.kind == SpecKind::Function {
                String::new()
            } else {
                format!("[{}] ", s.kind.word())
            };
            text.push_str(&format!(
                "{:width$}  {kind}{}  ({})\n",
                s.name,
                s.description.replace('\n', " "),
                s.span
            ));
        }
        text.push_str(&format!(
            "{} specifications in {} files\n",
            specs.len(),
            found.files
        ));
        print(&text)?;
    }
    Ok(if worst == Some(Severity::Error) {
        Status::Found
    } else {
        Status::Good
    })
}
