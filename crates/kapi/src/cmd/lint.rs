//! `kapi lint`

use anyhow::Result;
use kapi::diag::{Diagnostic, Severity};
use kapi::lint::{RULES, lint, sarif};

use super::input::Input;
use super::{Status, print};

/// Check specifications against themselves and the declarations beside them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,

    /// text, json or sarif
    #[arg(long, short, default_value = "text", value_parser = ["text", "json", "sarif"])]
    format: String,

    /// Fail on warnings too
    #[arg(long)]
    strict: bool,

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
    let mut all: Vec<Diagnostic> = found.parsed.diagnostics;
    all.extend(lint(&found.parsed.specs, &found.syscalls));
    all.retain(|d| !args.allow.iter().any(|code| code == d.code));
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
    add_lines(&mut all);
    let count = |severity| all.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match args.format.as_str() {
        "sarif" => print(&(serde_json::to_string_pretty(&sarif(&all))? + "\n"))?,
        "json" => print(&(serde_json::to_string_pretty(&all)? + "\n"))?,
        _ => {
            let mut text: String = all.iter().map(|d| format!("{d}\n\n")).collect();
            let specs = found.parsed.specs.len();
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

/// Findings about items carry no source line yet; the files do.
fn add_lines(all: &mut [Diagnostic]) {
    let mut last: Option<(std::sync::Arc<str>, String)> = None;
    for diagnostic in all
        .iter_mut()
        .filter(|d| d.line.is_none() && d.span.line > 0)
    {
        let file = &diagnostic.span.file;
        if last.as_ref().is_none_or(|(name, _)| name != file) {
            let builtin = kapi::specs::ALL
                .iter()
                .find(|(name, _)| **name == **file)
                .map(|(_, text)| (*text).to_owned());
            let text = builtin.or_else(|| {
                std::fs::read(&**file)
                    .ok()
                    .map(|b| String::from_utf8_lossy(&b).into_owned())
            });
            last = Some((file.clone(), text.unwrap_or_default()));
        }
        if let Some((_, text)) = &last {
            let index = usize::try_from(diagnostic.span.line)
                .unwrap_or(1)
                .saturating_sub(1);
            diagnostic.line = text
                .split('\n')
                .nth(index)
                .map(|l| l.trim_end_matches('\r').to_owned());
        }
    }
}
