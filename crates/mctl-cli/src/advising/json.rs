//! What `--json` prints.

use mctl::advise::{Advised, Bounds, Plan, Range, Skipped, Way};
use mctl::coverage::Bytes;
use mctl::reclaim::Change;
use serde::Serialize;

use crate::advising::job::{Done, Given, Job, Row, Sum};
use crate::advising::passed_over::{Reason, reasons};
use crate::report::JsonError;

#[derive(Serialize)]
pub(crate) struct Json<'a> {
    advice: String,
    processes: Vec<Process<'a>>,
    ended: u64,
    not_begun: u64,
    interrupted: bool,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: i32,
    inode: Option<u64>,
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advised: Option<Summary<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Seen<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Planned<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JsonError>,
}

/// Of the library's result everything but the entries, of which there may be a great many.
#[derive(Serialize)]
struct Summary<'a> {
    bytes: u64,
    advised: u64,
    complete: bool,
    way: Way,
    error: Option<String>,
    /// Where that happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_in: Option<Span>,
    skipped_total: u64,
    skipped_why: Vec<Reason>,
    skipped: &'a [Skipped],
    batches: u64,
    bounds: &'a Bounds,
    cancelled: bool,
    ended: Option<&'a str>,
    left_to_server: u64,
    note: Option<&'a str>,
    longest_stop_us: u128,
    stopped_us: u128,
    took_us: u128,
}

#[derive(Serialize)]
struct Seen<'a> {
    #[serde(flatten)]
    change: &'a Change,
    left_memory: Bytes,
    went_to_swap: Bytes,
    became_huge: Bytes,
    huge_percent_before: Option<f64>,
    huge_percent_after: Option<f64>,
    host_wide: mctl::reclaim::HostCounters,
    major_faults: Option<u64>,
}

#[derive(Serialize)]
struct Planned<'a> {
    mappings: usize,
    bytes: u64,
    ranges: Vec<Span>,
    left_to_server: u64,
    bounds: &'a Bounds,
}

#[derive(Serialize)]
struct Span {
    start: String,
    len: u64,
}

impl From<&Range> for Span {
    fn from(range: &Range) -> Span {
        Span {
            start: format!("{:#x}", range.start),
            len: range.len,
        }
    }
}

impl<'a> Json<'a> {
    pub(crate) fn of(job: &Job<'_>, sum: &'a Sum) -> Json<'a> {
        Json {
            advice: job.advice.to_string(),
            processes: sum.rows.iter().map(|row| process(job, row)).collect(),
            ended: sum.ended,
            not_begun: sum.not_begun,
            interrupted: sum.interrupted,
        }
    }
}

fn process<'a>(job: &Job<'_>, row: &'a Row) -> Process<'a> {
    let (mut advised, mut change, mut plan, mut error) = (None, None, None, None);
    match &row.result {
        Err(failure) => error = Some(JsonError::of(failure)),
        Ok(Done::Planned(planned)) => {
            let Plan {
                ranges,
                left_to_server,
                bounds,
                ..
            } = &**planned;
            plan = Some(Planned {
                mappings: ranges.len(),
                bytes: ranges.iter().map(|range| range.len).sum(),
                ranges: ranges.iter().map(Span::from).collect(),
                left_to_server: *left_to_server,
                bounds,
            });
        }
        Ok(Done::Given(given)) => {
            advised = Some(summary(job, &given.advised));
            change = given.change.as_ref().map(|change| seen(given, change));
        }
    }
    Process {
        pid: row.spec.pid,
        inode: row.spec.inode,
        name: row.name.as_deref(),
        advised,
        change,
        plan,
        error,
    }
}

fn summary<'a>(job: &Job<'_>, advised: &'a Advised) -> Summary<'a> {
    let error = advised.entries.iter().find_map(|entry| entry.error);
    Summary {
        bytes: advised.bytes,
        advised: advised.advised,
        complete: advised.is_complete(),
        way: advised.way,
        error: error.map(|errno| errno.to_string()),
        failed_in: advised.failed_in.as_ref().map(Span::from),
        skipped_total: advised.skipped_total,
        skipped_why: reasons(job.advice, advised),
        skipped: &advised.skipped,
        batches: advised.batches,
        bounds: &advised.bounds,
        cancelled: advised.cancelled,
        ended: advised.ended.as_deref(),
        left_to_server: advised.left_to_server,
        note: advised.note.as_deref(),
        longest_stop_us: advised.longest_stop.as_micros(),
        stopped_us: advised.stopped.as_micros(),
        took_us: advised.took.as_micros(),
    }
}

fn seen<'a>(given: &Given, change: &'a Change) -> Seen<'a> {
    Seen {
        change,
        left_memory: change.left_memory(),
        went_to_swap: change.went_to_swap(),
        became_huge: change.became_huge(),
        huge_percent_before: change.before.memory.percent(),
        huge_percent_after: change.after.memory.percent(),
        host_wide: change.host_wide(),
        major_faults: given.major_faults,
    }
}
