//! What `--json` prints.

use mctl::advise::{Advised, Bounds, Plan, Range, Skipped, Way};
use mctl::coverage::Bytes;
use mctl::reclaim::Change;
use serde::Serialize;

use super::job::{Done, Given, Job};
use super::passed_over::{Reason, reasons};
use crate::operate::{Json, Sum};

#[derive(Serialize)]
struct Head {
    advice: String,
}

#[derive(Serialize)]
struct InJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    advised: Option<Summary<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Seen<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Planned<'a>>,
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

pub(super) fn of<'a>(job: &'a Job<'_>, sum: &'a Sum<Done>) -> impl Serialize + 'a {
    let head = Head {
        advice: job.advice.to_string(),
    };
    Json::of(job, head, sum, |done| in_json(job, done))
}

fn in_json<'a>(job: &Job<'_>, done: &'a Done) -> InJson<'a> {
    let (mut advised, mut change, mut plan) = (None, None, None);
    match done {
        Done::Planned(planned) => {
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
        Done::Given(given) => {
            advised = Some(summary(job, &given.advised));
            change = given.change.as_ref().map(|change| seen(given, change));
        }
    }
    InJson {
        advised,
        change,
        plan,
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
