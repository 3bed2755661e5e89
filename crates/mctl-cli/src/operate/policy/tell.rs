//! What became of a change: errors and notes on standard error, lines or JSON on standard output.

use std::io::{self, Write};

use mctl::coverage::Bytes;
use mctl::{Error, Outcome, Plan};
use serde::Serialize;

use super::{Changed, Done, Group, Rollback, Work};
use crate::operate::{Either, Manner, Process, Row, Sum, Tell, split};
use crate::output::Out;
use crate::report::{self, JsonError, Notes};

/// A change that is done, or planned, and is to be told.
pub(super) struct Told<'a> {
    pub(super) work: Work<'a>,
    pub(super) group: Group,
}

impl Tell for Told<'_> {
    type Done = Changed;

    fn name(&self) -> String {
        self.work.request.words()
    }

    fn manner(&self) -> Manner {
        let args = self.work.args;
        Manner {
            dry_run: args.dry_run,
            json: args.json,
            quiet: args.quiet,
            verbose: args.verbose,
        }
    }

    fn say(&self, out: &mut Out, row: &Row<Changed>, changed: &Changed) -> io::Result<bool> {
        let Manner { json, verbose, .. } = self.manner();
        match &changed.done {
            Done::Applied(outcome) if verbose && !json => {
                applied_line(out, &row.who(), &self.name(), outcome)?;
            }
            Done::Planned(plan) if !json => plan_lines(out, &row.who(), plan)?,
            Done::Applied(_) | Done::Planned(_) => {}
        }
        self.say_split(out, row, changed)
    }

    fn say_of_all(&self, sum: &Sum<Changed>) -> bool {
        let mut well = true;
        let group = &self.group;
        if group.incomplete {
            well = false;
            report::error(
                "not every process could be reached: new ones came faster than they were treated",
                Some("freeze or stop what forks, and do it again"),
            );
        }
        well &= !report::left_out(&group.left_out);
        match &group.rollback {
            None if self.work.args.quiet => {}
            None => self.say_notes(sum),
            Some(Rollback {
                restored: 0,
                failed: 0,
            }) => report::note("nothing was changed (--atomic)"),
            Some(Rollback { restored, failed }) => report::note(&format!(
                "{restored} processes were put back to what they had (--atomic){}",
                if *failed > 0 {
                    format!("; {failed} could not be")
                } else {
                    String::new()
                }
            )),
        }
        well && group.rollback.is_none()
    }

    fn expects_some(&self) -> bool {
        self.group.rollback.is_none() && self.group.left_out.invisible == 0
    }

    fn hint(&self, error: &Error) -> Option<String> {
        error.hint().or_else(|| {
            (self.work.args.strict && matches!(error, Error::Unsupported { .. })).then(|| {
                "without --strict it is done as well as this kernel can; \
                 'mctl probe' shows how well that is"
                    .to_owned()
            })
        })
    }

    fn what_stays(&self) -> &'static str {
        "the policy is in force, and what was split stays split"
    }

    fn json<'a>(&'a self, sum: &'a Sum<Changed>) -> impl Serialize + 'a {
        let rows = sum.rows.iter();
        Json {
            request: self.name(),
            processes: rows.map(|row| Process::of(self, row, InJson::of)).collect(),
            ended: sum.ended,
            complete: !self.group.incomplete && self.group.left_out.invisible == 0,
            left_out: &self.group.left_out,
            rollback: &self.group.rollback,
        }
    }
}

impl Told<'_> {
    /// The notes of all, each once, and what stays huge.
    fn say_notes(&self, sum: &Sum<Changed>) {
        let mut notes = Notes::default();
        let mut still = Vec::new();
        for row in &sum.rows {
            let Ok(changed) = &row.result else { continue };
            if let Done::Applied(outcome) = &changed.done {
                notes.take(&row.spec.pid.to_string(), outcome);
            }
            let bytes = changed.still_huge.filter(|bytes| !bytes.is_zero());
            if let (false, Some(bytes)) = (self.work.after.split, bytes) {
                still.push((row.spec.pid, bytes));
            }
        }
        notes.print();
        super::huge::note(&still);
    }

    /// What became of splitting; whether that is well.
    fn say_split(&self, out: &mut Out, row: &Row<Changed>, changed: &Changed) -> io::Result<bool> {
        match &changed.split {
            None => {}
            Some(Err(error)) => {
                let sentence = report::sentence(error, &row.spec.pid.to_string(), "split");
                report::error(&sentence, error.hint().as_deref());
                return Ok(false);
            }
            Some(Ok(_)) if self.work.args.json => {}
            Some(Ok(Either::Planned(huge))) => split::plan_line(out, &row.who(), huge)?,
            Some(Ok(Either::Done(_))) if self.work.args.quiet => {}
            Some(Ok(Either::Done(done))) => split::lines(out, &row.who(), done)?,
        }
        Ok(true)
    }
}

fn applied_line(out: &mut Out, who: &str, what: &str, outcome: &Outcome) -> io::Result<()> {
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
        who,
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

fn plan_lines(out: &mut Out, who: &str, plan: &Plan) -> io::Result<()> {
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
    request: String,
    processes: Vec<Process<'a, InJson<'a>>>,
    ended: u64,
    complete: bool,
    left_out: &'a mctl::LeftOut,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback: &'a Option<Rollback>,
}

#[derive(Serialize)]
struct InJson<'a> {
    exact: bool,
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
    split: Option<Split<'a>>,
}

#[derive(Serialize)]
struct Split<'a> {
    #[serde(flatten)]
    done: Option<split::InJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JsonError>,
}

impl<'a> InJson<'a> {
    fn of(changed: &'a Changed) -> InJson<'a> {
        let (outcome, plan) = match &changed.done {
            Done::Applied(outcome) => (Some(outcome), None),
            Done::Planned(plan) => (None, Some(plan)),
        };
        let promised = plan.map(|plan| &plan.promised);
        InJson {
            exact: outcome.or(promised).is_some_and(Outcome::is_exact),
            changed: outcome.map(Outcome::changed),
            outcome,
            plan,
            still_huge: changed.still_huge,
            split: changed.split.as_ref().map(|split| Split {
                done: split.as_ref().ok().map(split::InJson::of),
                error: split.as_ref().err().map(JsonError::of),
            }),
        }
    }
}
