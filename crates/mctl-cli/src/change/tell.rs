//! What became of a change: errors and notes on standard error, lines or JSON on standard output.

use std::io::Write;

use mctl::coverage::Bytes;
use mctl::{Error, Outcome, Plan};
use serde::Serialize;

use super::{Done, Entry, Rollback, Sum, Work};
use crate::exit;
use crate::fail::Ended;
use crate::output::Out;
use crate::report::{self, JsonError, Notes};
use crate::splitting;

impl Work<'_> {
    /// Says what became of it: errors and notes on standard error, the rest on standard output.
    pub(super) fn tell(&self, sum: Sum) -> Ended {
        let what = self.request.words();
        let mut code = exit::DONE;
        let mut notes = Notes::default();
        let mut still = Vec::new();
        let mut out = Out::new();
        for entry in &sum.entries {
            let who = entry.spec.pid.to_string();
            if !self.after.split
                && let Some(bytes) = entry.still_huge.filter(|bytes| !bytes.is_zero())
            {
                still.push((entry.spec.pid, bytes));
            }
            match &entry.result {
                Err(error) => {
                    code = exit::FAILED;
                    let sentence = report::sentence(error, &who, &what);
                    report::error(&sentence, self.hint(error).as_deref());
                }
                Ok(Done::Applied(outcome)) => {
                    notes.take(&who, outcome);
                    if self.args.verbose && !self.args.json {
                        applied_line(&mut out, entry, &what, outcome)?;
                    }
                    if !self.tell_split(&mut out, entry)? {
                        code = exit::FAILED;
                    }
                }
                Ok(Done::Planned(plan)) => {
                    if !self.args.json {
                        plan_lines(&mut out, entry, plan)?;
                    }
                    if !self.tell_split(&mut out, entry)? {
                        code = exit::FAILED;
                    }
                }
            }
        }
        if sum.incomplete {
            code = exit::FAILED;
            report::error(
                "not every process could be reached: new ones came faster than they were treated",
                Some("freeze or stop what forks, and do it again"),
            );
        }
        if report::left_out(&sum.left_out) {
            code = exit::FAILED;
        }
        if let Some(rollback) = &sum.rollback {
            code = exit::FAILED;
            match rollback {
                Rollback {
                    restored: 0,
                    failed: 0,
                } => report::note("nothing was changed (--atomic)"),
                Rollback { restored, failed } => report::note(&format!(
                    "{restored} processes were put back to what they had (--atomic){}",
                    if *failed > 0 {
                        format!("; {failed} could not be")
                    } else {
                        String::new()
                    }
                )),
            }
        }
        if sum.entries.is_empty() && sum.rollback.is_none() && sum.left_out.invisible == 0 {
            report::note("there is no process there");
        }
        if !self.args.quiet && sum.rollback.is_none() {
            notes.print();
            super::huge::note(&still);
        }
        if self.args.json {
            out.json(&Json::of(&what, &sum, |error| self.hint(error)))?;
        } else if self.args.verbose && sum.ended > 0 {
            writeln!(out, "{} processes ended meanwhile", sum.ended)?;
        }
        out.finish()?;
        Ok(code)
    }

    /// What became of splitting; whether that is well.
    fn tell_split(&self, out: &mut Out, entry: &Entry) -> std::io::Result<bool> {
        match &entry.split {
            None => Ok(true),
            Some(Err(error)) => {
                let sentence = report::sentence(error, &entry.spec.pid.to_string(), "split");
                report::error(&sentence, error.hint().as_deref());
                Ok(false)
            }
            Some(Ok(_)) if self.args.json => Ok(true),
            Some(Ok(splitting::Outcome::Planned(huge))) => {
                splitting::plan_line(out, &who(entry), huge).map(|()| true)
            }
            Some(Ok(splitting::Outcome::Split(_))) if self.args.quiet => Ok(true),
            Some(Ok(splitting::Outcome::Split(done))) => {
                splitting::lines(out, &who(entry), done).map(|()| true)
            }
        }
    }

    fn hint(&self, error: &Error) -> Option<String> {
        error.hint().or_else(|| {
            (self.args.strict && matches!(error, Error::Unsupported { .. })).then(|| {
                "without --strict it is done as well as this kernel can; \
                 'mctl probe' shows how well that is"
                    .to_owned()
            })
        })
    }
}

fn who(entry: &Entry) -> String {
    match &entry.name {
        Some(name) => format!("{} ({name})", entry.spec.pid),
        None => entry.spec.pid.to_string(),
    }
}

fn applied_line(
    out: &mut Out,
    entry: &Entry,
    what: &str,
    outcome: &Outcome,
) -> std::io::Result<()> {
    let done = if outcome.changed() {
        "done"
    } else {
        "already so"
    };
    let mechanisms: Vec<&str> = outcome.mechanisms.iter().map(|m| m.word()).collect();
    let g = outcome.guarantees;
    write!(
        out,
        "{}: {what}: {done}; now {}, future {}, fork {}, exec {}; by {}; stopped {} µs",
        who(entry),
        g.now,
        g.future,
        g.fork,
        g.exec,
        mechanisms.join(", "),
        outcome.stopped.as_micros()
    )?;
    if let Some(counts) = &outcome.mappings {
        write!(
            out,
            "; mappings: {} advised, {} already, {} left alone",
            counts.changed,
            counts.already,
            counts.skipped_nohugepage + counts.skipped_file + counts.skipped_special
        )?;
    }
    writeln!(out)
}

fn plan_lines(out: &mut Out, entry: &Entry, plan: &Plan) -> std::io::Result<()> {
    let who = who(entry);
    for step in &plan.steps {
        writeln!(out, "{who}: would call {step}")?;
    }
    if plan.steps.is_empty() {
        writeln!(out, "{who}: nothing to do")?;
    }
    let g = plan.promised.guarantees;
    writeln!(
        out,
        "{who}: now {}, future {}, fork {}, exec {}",
        g.now, g.future, g.fork, g.exec
    )?;
    for note in &plan.promised.notes {
        writeln!(out, "{who}: {note}")?;
    }
    Ok(())
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    request: &'a str,
    processes: Vec<JsonProcess<'a>>,
    ended: u64,
    complete: bool,
    left_out: &'a mctl::LeftOut,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback: &'a Option<Rollback>,
}

#[derive(Serialize)]
struct JsonProcess<'a> {
    pid: i32,
    inode: Option<u64>,
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a Plan>,
    /// Bytes in huge pages once the policy is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    still_huge: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<splitting::JsonSplit<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JsonError>,
}

impl<'a> Json<'a> {
    fn of(request: &'a str, sum: &'a Sum, hint: impl Fn(&Error) -> Option<String>) -> Json<'a> {
        let processes = sum
            .entries
            .iter()
            .map(|entry| {
                let (outcome, plan, error) = match &entry.result {
                    Ok(Done::Applied(outcome)) => (Some(outcome), None, None),
                    Ok(Done::Planned(plan)) => (None, Some(plan), None),
                    Err(error) => (None, None, Some(JsonError::with_hint(error, hint(error)))),
                };
                JsonProcess {
                    pid: entry.spec.pid,
                    inode: entry.spec.inode,
                    name: entry.name.as_deref(),
                    exact: outcome
                        .or(plan.map(|plan| &plan.promised))
                        .map(Outcome::is_exact),
                    changed: outcome.map(Outcome::changed),
                    outcome,
                    plan,
                    still_huge: entry.still_huge,
                    split: entry.split.as_ref().map(splitting::JsonSplit::of),
                    error,
                }
            })
            .collect();
        Json {
            request,
            processes,
            ended: sum.ended,
            complete: !sum.incomplete && sum.left_out.invisible == 0,
            left_out: &sum.left_out,
            rollback: &sum.rollback,
        }
    }
}
