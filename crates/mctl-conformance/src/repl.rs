//! Trying semantics by hand: a file, or line by line, on the model or on real processes.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::draw;
use crate::lang::{Parser, parse, print_step};
use crate::report::Fate;
use crate::run::{Frame, Verdict, answer_text, frame, run_line, run_traced};
use crate::view::Span;

/// What `run_file` hands back.
#[derive(Clone, Debug)]
pub struct FileRun {
    /// What the scenario came to.
    pub verdict: Verdict,
    /// The address spaces after every step; [`draw::text`] and [`draw::svg`] draw them.
    pub frames: Vec<Frame>,
}

impl FileRun {
    /// As JSON: the verdict, and every step with the address spaces after it.
    #[must_use]
    pub fn json(&self) -> Value {
        let frames: Vec<Value> = self.frames.iter().map(frame_json).collect();
        json!({ "verdict": Fate::from(self.verdict.clone()), "frames": frames })
    }
}

fn frame_json(frame: &Frame) -> Value {
    let tasks: Vec<Value> = frame
        .views
        .iter()
        .map(|(task, view)| {
            let spans: Vec<Value> = view.spans.iter().map(span_json).collect();
            let (locked, enabled) = view.status.unzip();
            json!({ "task": task, "mappings": spans, "locked": locked, "thp_enabled": enabled })
        })
        .collect();
    json!({ "step": frame.step, "result": frame.result, "tasks": tasks })
}

fn span_json(span: &Span) -> Value {
    json!({
        "start": span.start,
        "end": span.end,
        "flags": span.flags.to_string(),
        "anonymous": span.anon,
        "resident": span.rss,
        "huge": span.huge,
        "eligible": span.eligible,
    })
}

/// Runs a scenario file on a backend.
///
/// # Errors
/// Where the file cannot be read, or is wrong: the message says line, column and what was
/// expected.
pub fn run_file(path: &Path, backend: &mut dyn Backend) -> Result<FileRun> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let scenario = parse(&text).with_context(|| path.display().to_string())?;
    let mut frames = Vec::new();
    let verdict = run_traced(&scenario, backend, Some(&mut frames));
    Ok(FileRun { verdict, frames })
}

const HELP: &str = "\
one step a line, as in a scenario: spawn p · p map a 4M · p madvise a 4M hugepage · expect p huge a 4M 2M
`show` draws the address spaces, `svg FILE` writes the whole trace, `quit` ends
";

/// Reads steps, does them on a backend and answers each, until the input ends or says `quit`. Mistakes
/// are told and do not end it.
///
/// # Errors
/// Where the reader or the writer fails.
pub fn repl(backend: &mut dyn Backend, reader: impl BufRead, mut writer: impl Write) -> Result<()> {
    let mut parser = Parser::default();
    let mut begun = false;
    let mut frames: Vec<Frame> = Vec::new();
    writer.write_all(HELP.as_bytes())?;
    for line in reader.lines() {
        let line = line?;
        let word = line.trim();
        match word.split_once(' ').map_or((word, ""), |(a, b)| (a, b)) {
            ("quit", _) => return Ok(()),
            ("help", _) => writer.write_all(HELP.as_bytes())?,
            ("show", _) => {
                if let Some(last) = frames.last() {
                    writer.write_all(draw::text(std::slice::from_ref(last)).as_bytes())?;
                }
            }
            ("svg", path) => match std::fs::write(path.trim(), draw::svg(&frames)) {
                Ok(()) => writeln!(writer, "written")?,
                Err(error) => writeln!(writer, "cannot write {path}: {error}")?,
            },
            _ => match parser.line(&line) {
                Err(error) => writeln!(writer, "{error}")?,
                Ok(None) => {}
                Ok(Some(step)) => {
                    if !begun {
                        // The host is settled by the first step.
                        let scenario = parser.scenario();
                        match backend.begin(&scenario.needs, &scenario.names) {
                            Ok(()) => begun = true,
                            Err(trouble) => {
                                writeln!(writer, "{trouble}")?;
                                continue;
                            }
                        }
                    }
                    let text = print_step(&step.step, &parser.scenario().names);
                    match run_line(&step, backend) {
                        Ok(Ok(answer)) => {
                            writeln!(writer, "{}", answer_text(answer))?;
                            let names = parser.scenario().names.clone();
                            frames.push(frame(text, answer, &names, backend));
                        }
                        Ok(Err((wanted, got))) => writeln!(writer, "wanted {wanted}, got {got}")?,
                        Err(trouble) => writeln!(writer, "{trouble}")?,
                    }
                }
            },
        }
        writer.flush()?;
    }
    Ok(())
}
