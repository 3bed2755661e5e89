//! Trying semantics by hand: a file, or line by line, on the model or on real processes.

use std::fmt::Write as _;
use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::call::{Life, Look, Step};
use crate::draw;
use crate::explain::explain;
use crate::lang::{
    Line, Parser, Scenario, Wanted, WantedOutcome, parse, policy_text, print_scenario, print_step,
};
use crate::report::{Fate, built_in};
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

/// A scenario by the path of its file, or by the name of a case that is built in.
///
/// # Errors
/// Where there is neither, or the file is wrong: the message says line, column and what was
/// expected.
pub fn scenario(path: &Path) -> Result<Scenario> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let case = built_in()?
                .into_iter()
                .find(|case| Path::new(&case.name) == path);
            return match case {
                Some(case) => Ok(case.scenario),
                None => Err(error).with_context(|| {
                    format!("cannot read {}, and no case has this name", path.display())
                }),
            };
        }
    };
    parse(&text).with_context(|| path.display().to_string())
}

/// Runs a scenario, by file or name, on a backend.
///
/// # Errors
/// As [`scenario`].
pub fn run_file(path: &Path, backend: &mut dyn Backend) -> Result<FileRun> {
    let scenario = scenario(path)?;
    let mut frames = Vec::new();
    let verdict = run_traced(&scenario, backend, Some(&mut frames));
    Ok(FileRun { verdict, frames })
}

const HELP: &str = "\
one step a line, as in a scenario: spawn p · p map a 4M · p madvise a 4M hugepage · expect p huge a 4M 2M
show                draw the address spaces
policy [TASK]       the policy records
explain TASK ADDR   why a mapping may become huge, or may not
undo                take the last step back (the others are done again from the start)
save FILE           write the steps as a scenario, with what they came to
svg FILE            write the whole trace
quit                end
";

/// Reads steps, does them on a backend and answers each, until the input ends or says `quit`. Mistakes
/// are told and do not end it.
///
/// # Errors
/// Where the reader or the writer fails.
pub fn repl(backend: &mut dyn Backend, reader: impl BufRead, mut writer: impl Write) -> Result<()> {
    let mut session = Session {
        backend,
        parser: Parser::default(),
        begun: false,
        lines: Vec::new(),
        frames: Vec::new(),
    };
    writer.write_all(HELP.as_bytes())?;
    for line in reader.lines() {
        let line = line?;
        let word = line.trim();
        let (word, rest) = word.split_once(' ').unwrap_or((word, ""));
        let rest = rest.trim();
        let said = match word {
            "quit" => return Ok(()),
            "help" => HELP.to_owned(),
            "show" => session.show(),
            "policy" => session.policies(rest),
            "explain" => session.explain(rest),
            "undo" => session.undo(),
            "save" => written(rest, std::fs::write(rest, session.scenario())),
            "svg" => written(rest, std::fs::write(rest, draw::svg(&session.frames))),
            _ => session.step(&line),
        };
        writer.write_all(said.as_bytes())?;
        writer.flush()?;
    }
    Ok(())
}

fn written(path: &str, done: std::io::Result<()>) -> String {
    match done {
        Ok(()) => "written\n".to_owned(),
        Err(error) => format!("cannot write {path}: {error}\n"),
    }
}

/// What was typed so far.
struct Session<'a> {
    backend: &'a mut dyn Backend,
    parser: Parser,
    /// The host is settled by the first step.
    begun: bool,
    /// The steps that were done, each wanting what it came to.
    lines: Vec<Line>,
    frames: Vec<Frame>,
}

impl Session<'_> {
    /// Does one step and says what it came to.
    fn step(&mut self, text: &str) -> String {
        match self.parser.line(text) {
            Err(error) => format!("{error}\n"),
            Ok(None) => String::new(),
            Ok(Some(line)) => format!("{}\n", self.carry_out(line)),
        }
    }

    fn carry_out(&mut self, mut line: Line) -> String {
        let scenario = self.parser.scenario();
        if !self.begun {
            if let Err(trouble) = self.backend.begin(&scenario.needs, &scenario.names) {
                return trouble.to_string();
            }
            self.begun = true;
        }
        match run_line(&line, self.backend) {
            Ok(Ok(answer)) => {
                line.wanted = match answer {
                    Ok(0) => Wanted::Ok,
                    Ok(value) => Wanted::Value(value),
                    Err(errno) => Wanted::Fails(errno),
                };
                let text = print_step(&line.step, &scenario.names);
                let frame = frame(text, answer, &scenario.names, self.backend);
                self.frames.push(frame);
                self.lines.push(line);
                answer_text(answer)
            }
            Ok(Err((wanted, got))) => {
                // A call was made, whatever was wanted of it; a look changes nothing.
                if !matches!(line.step, Step::Expect(_)) {
                    let any = Line {
                        wanted: Wanted::Any,
                        outcome: WantedOutcome::default(),
                        ..line
                    };
                    self.lines.push(any);
                }
                format!("wanted {wanted}, got {got}")
            }
            Err(trouble) => trouble.to_string(),
        }
    }

    fn show(&self) -> String {
        self.frames
            .last()
            .map(|last| draw::text(std::slice::from_ref(last)))
            .unwrap_or_default()
    }

    /// The steps as a scenario that holds here.
    fn scenario(&self) -> String {
        let scenario = Scenario {
            lines: self.lines.clone(),
            ..self.parser.scenario().clone()
        };
        print_scenario(&scenario)
    }

    /// Everything from the start but for the last step.
    fn undo(&mut self) -> String {
        let Some(last) = self.lines.pop() else {
            return "nothing to take back\n".to_owned();
        };
        let lines = std::mem::take(&mut self.lines);
        self.frames.clear();
        self.begun = false;
        for line in lines {
            let again = Line {
                wanted: Wanted::Any,
                ..line.clone()
            };
            self.carry_out(again);
        }
        let step = print_step(&last.step, &self.parser.scenario().names);
        format!("taken back: {step}\n")
    }

    /// The policy record of one task, or of everybody who lives.
    fn policies(&mut self, only: &str) -> String {
        let names = self.parser.scenario().names.tasks.clone();
        let mut out = String::new();
        for (task, name) in (0..).zip(&names) {
            let alive = self.begun && self.backend.life(task) == Ok(Life::Alive);
            if !alive || !(only.is_empty() || only == name) {
                continue;
            }
            let _ = match self.backend.policy(task) {
                Ok(mask) => writeln!(out, "{name}: {}", policy_text(mask)),
                Err(trouble) => writeln!(out, "{name}: {trouble}"),
            };
        }
        if out.is_empty() {
            out.push_str("nobody of that name lives\n");
        }
        out
    }

    /// Why a mapping may become huge by itself, or may not, with the sentence of the contract.
    fn explain(&mut self, rest: &str) -> String {
        if !self.begun {
            return "nothing was done yet\n".to_owned();
        }
        // In the words of a look at the same place.
        let (task, addr) = rest.split_once(' ').unwrap_or((rest, ""));
        let look = format!("expect {task} eligible {addr} yes");
        let look = self.parser.clone().line(&look);
        match look {
            Ok(Some(Line {
                step: Step::Expect(Look::Eligible(task, at, _)),
                ..
            })) => explain(self.backend, task, at).unwrap_or_else(|trouble| format!("{trouble}\n")),
            _ => "explain TASK ADDR, as in `explain p a+4K`\n".to_owned(),
        }
    }
}
