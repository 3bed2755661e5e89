//! `kapi lint`

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use kapi::diag::{Diagnostic, Severity};
use kapi::front::tree::{self, Found};
use kapi::lint::{RULES, lint, sarif};

use super::input::Input;
use super::{Status, print};

/// Check specifications against themselves and the declarations beside them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi lint -s specs
  kapi lint -s linux --format sarif > lint.sarif
  kapi lint -s new --new-only old")]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,

    /// text, json or sarif
    #[arg(long, short, default_value = "text", value_parser = ["text", "json", "sarif"])]
    format: String,

    /// Fail on warnings too
    #[arg(long)]
    strict: bool,

    /// Leave out what was there before: in this file or tree, or in what
    /// `kapi lint --format json` wrote of it
    #[arg(long, value_name = "BEFORE")]
    new_only: Option<PathBuf>,

    /// Leave this rule out (repeatable)
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,

    /// List the rules
    #[arg(long)]
    rules: bool,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    if args.rules {
        print(
            &RULES
                .iter()
                .map(|(code, text)| format!("{code:22} {text}\n"))
                .collect::<String>(),
        )?;
        return Ok(Status::Good);
    }
    let found = args.input.read(true)?;
    let specs = found.parsed.specs.len();
    let mut all = messages(found);
    all.retain(|d| !args.allow.iter().any(|code| code == d.code));
    if let Some(before) = &args.new_only {
        only_new(&mut all, before)?;
    }
    add_lines(&mut all);
    let count = |severity| all.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match args.format.as_str() {
        "sarif" => print(&(serde_json::to_string_pretty(&sarif(&all))? + "\n"))?,
        "json" => print(&(serde_json::to_string_pretty(&all)? + "\n"))?,
        _ => {
            let mut text: String = all.iter().map(|d| format!("{d}\n\n")).collect();
            text.push_str(&format!(
                "{specs} specifications: {errors} errors, {warnings} warnings, {} notes\n",
                count(Severity::Note)
            ));
            print(&text)?;
        }
    }
    Ok(if errors > 0 || args.strict && warnings > 0 {
        Status::Found
    } else {
        Status::Good
    })
}

/// Everything that is to be said of what was read, in order, each once.
fn messages(found: Found) -> Vec<Diagnostic> {
    let mut all: Vec<Diagnostic> = found.parsed.diagnostics;
    all.extend(lint(&found.parsed.specs, &found.syscalls));
    all.sort_by(|a, b| {
        (&a.span.file, a.span.line, a.span.column, a.code).cmp(&(
            &b.span.file,
            b.span.line,
            b.span.column,
            b.code,
        ))
    });
    all.dedup_by(|a, b| {
        a.code == b.code
            && a.message == b.message
            && a.span.line == b.span.line
            && a.span.file == b.span.file
    });
    all
}

/// Leaves out as many messages of each kind and text as there were before. Lines move, so places
/// do not count.
fn only_new(all: &mut Vec<Diagnostic>, before: &Path) -> Result<()> {
    let mut old: HashMap<(String, String), usize> = HashMap::new();
    let mut count = |code: &str, message: &str| {
        *old.entry((code.to_owned(), message.to_owned()))
            .or_default() += 1;
    };
    let written = before
        .is_file()
        .then(|| std::fs::read_to_string(before))
        .and_then(Result::ok)
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
        .and_then(|value| value.as_array().cloned())
        .filter(|list| list.iter().all(|d| d.get("code").is_some()));
    match written {
        Some(list) => {
            for d in &list {
                let text = |key: &str| d.get(key).and_then(|v| v.as_str()).unwrap_or_default();
                count(text("code"), text("message"));
            }
        }
        None => {
            std::fs::metadata(before).with_context(|| before.display().to_string())?;
            for d in messages(tree::read_paths(&[before.to_owned()], true)) {
                count(d.code, &d.message);
            }
        }
    }
    all.retain(
        |d| match old.get_mut(&(d.code.to_owned(), d.message.clone())) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        },
    );
    Ok(())
}

/// The lint knows places, not texts: fetches the lines to show. Messages are sorted by file, so
/// each is read and divided once.
fn add_lines(all: &mut [Diagnostic]) {
    let mut last: Option<(std::sync::Arc<str>, Vec<String>)> = None;
    for diagnostic in all
        .iter_mut()
        .filter(|d| d.line.is_none() && d.span.line > 0)
    {
        let file = &diagnostic.span.file;
        if last.as_ref().is_none_or(|(name, _)| name != file) {
            last = Some((file.clone(), lines_of(file)));
        }
        if let Some((_, lines)) = &last {
            let index = usize::try_from(diagnostic.span.line)
                .unwrap_or(1)
                .saturating_sub(1);
            diagnostic.line = lines.get(index).cloned();
        }
    }
}

fn lines_of(file: &str) -> Vec<String> {
    let builtin = kapi::specs::ALL.iter().find(|(name, _)| *name == file);
    let text = match builtin {
        Some((_, text)) => (*text).to_owned(),
        None => std::fs::read(file)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default(),
    };
    text.split('\n')
        .map(|l| l.trim_end_matches('\r').to_owned())
        .collect()
}
