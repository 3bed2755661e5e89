//! Saying what was done.

use std::io::{self, Write};

use mctl::advise::{Advice, Advised, Plan, Way};
use mctl::coverage::{Bytes, Coverage};

use super::bounds;
use super::job::{Done, Given, Job, Style};
use super::passed_over::{reasons, why};
use crate::args::What;
use crate::operate::{Row, time};
use crate::output::Out;
use crate::report;

/// Says what became of one process; whether nothing failed.
pub(super) fn say(job: &Job<'_>, out: &mut Out, row: &Row<Done>, done: &Done) -> io::Result<bool> {
    match done {
        Done::Planned(plan) if !job.how.json => {
            planned(out, job, row, plan)?;
            out.flush()?;
            left_to_server(row, plan.left_to_server, "would be");
            Ok(true)
        }
        Done::Planned(..) => Ok(true),
        Done::Given(given) => {
            if !job.how.json {
                told(out, job, row, given)?;
                out.flush()?;
                left_to_server(row, given.advised.left_to_server, "were");
                if let Some(note) = &given.advised.note {
                    report::note(&format!("process {}: {note}", row.spec.pid));
                }
            }
            // Otherwise errors would stand before the lines that they belong to.
            out.flush()?;
            Ok(is_well(job, row, given))
        }
    }
}

fn planned(out: &mut Out, job: &Job<'_>, row: &Row<Done>, plan: &Plan) -> io::Result<()> {
    let ranges = &plan.ranges;
    let bytes: u64 = ranges.iter().map(|range| range.len).sum();
    writeln!(
        out,
        "{}: would give {} to {} in {}",
        row.who(),
        job.advice,
        Bytes(bytes),
        mappings(ranges.len() as u64)
    )?;
    for said in bounds::planned(&plan.bounds) {
        writeln!(out, "  {said}")?;
    }
    if job.how.verbose {
        for range in ranges {
            writeln!(out, "  {}", span(range.start, range.len))?;
        }
    }
    Ok(())
}

fn left_to_server(row: &Row<Done>, bytes: u64, tense: &str) {
    if bytes > 0 {
        report::note(&format!(
            "process {}: {} are served by userfaultfd and {tense} passed over (--userfaultfd)",
            row.spec.pid,
            Bytes(bytes)
        ));
    }
}

fn mappings(count: u64) -> String {
    match count {
        1 => "1 mapping".to_owned(),
        count => format!("{count} mappings"),
    }
}

fn span(start: u64, len: u64) -> String {
    format!("{start:x}-{:x}", start.saturating_add(len))
}

/// What goes to standard output.
fn told(out: &mut Out, job: &Job<'_>, row: &Row<Done>, given: &Given) -> io::Result<()> {
    let advised = &given.advised;
    if job.how.quiet || (job.style == Style::Terse && !job.how.verbose) {
        return Ok(());
    }
    writeln!(
        out,
        "{}: {}: {} advised in {}{}",
        row.who(),
        job.advice,
        Bytes(advised.advised),
        time(advised.took),
        stops(advised)
    )?;
    if job.style == Style::Friendly {
        before_and_after(out, job, given)?;
    }
    if advised.skipped_total > 0 {
        passed_over(out, job, advised)?;
    }
    if advised.bounds.left_out.is_none() {
        for said in bounds::passed_over(&advised.bounds) {
            writeln!(out, "  {said}")?;
        }
    }
    Ok(())
}

fn stops(advised: &Advised) -> String {
    match advised.way {
        Way::Own | Way::Remote => String::new(),
        Way::Injected => format!(
            ", run in the process; longest stop {}",
            time(advised.longest_stop)
        ),
        Way::Carrier => format!(
            ", by a carrier; its own threads stopped for {}",
            time(advised.stopped)
        ),
    }
}

fn before_and_after(out: &mut Out, job: &Job<'_>, given: &Given) -> io::Result<()> {
    let Some(change) = &given.change else {
        return writeln!(out, "  before and after: not to be seen");
    };
    let (before, after) = (&change.before.memory, &change.after.memory);
    writeln!(out, "  resident     {} → {}", before.rss, after.rss)?;
    if job.advice == Advice::COLLAPSE {
        writeln!(
            out,
            "  huge pages   {} → {} of {}",
            percent(before),
            percent(after),
            after.could_be_huge()
        )?;
    } else {
        writeln!(out, "  swap         {} → {}", before.swap, after.swap)?;
    }
    if job.advice != Advice::COLLAPSE && before.anon_huge != after.anon_huge {
        writeln!(
            out,
            "  huge pages   {} → {}",
            before.anon_huge, after.anon_huge
        )?;
    }
    let host = change.host_wide();
    let refaults: u64 = host.refault_anon.unwrap_or(0) + host.refault_file.unwrap_or(0);
    let faults = given.major_faults.unwrap_or(0);
    if faults > 0 || (refaults > 0 && job.advice == Advice::PAGEOUT) {
        writeln!(
            out,
            "  came back    {faults} times the process waited for storage; {refaults} pages on the \
             whole host"
        )?;
    }
    Ok(())
}

fn passed_over(out: &mut Out, job: &Job<'_>, advised: &Advised) -> io::Result<()> {
    let reasons = reasons(job.advice, advised);
    writeln!(out, "  passed over  {}", mappings(advised.skipped_total))?;
    for reason in &reasons {
        writeln!(
            out,
            "    {}, {}: {} ({})",
            mappings(reason.mappings),
            reason.bytes,
            reason.why,
            reason.errno
        )?;
    }
    let named = advised.skipped.len() as u64;
    if advised.skipped_total > named {
        writeln!(out, "    {} more", mappings(advised.skipped_total - named))?;
    }
    if job.how.verbose {
        for skipped in &advised.skipped {
            writeln!(
                out,
                "    {}: {} ({})",
                span(skipped.start, skipped.len),
                why(job.advice, skipped),
                skipped.errno
            )?;
        }
    }
    Ok(())
}

/// Says on standard error what is not well; whether nothing failed.
fn is_well(job: &Job<'_>, row: &Row<Done>, given: &Given) -> bool {
    let advised = &given.advised;
    let (pid, advice) = (row.spec.pid, job.advice);
    let so_far = Bytes(advised.advised);
    if let Some(why) = &advised.ended {
        let why = format!("process {pid}: {advice}: after {so_far} it ended early: {why}");
        report::error(&why, None);
        return false;
    }
    if let Some((entry, errno)) = advised
        .entries
        .iter()
        .find_map(|entry| Some((entry, entry.error?)))
    {
        let (start, len) = advised
            .failed_in
            .map_or((entry.start, entry.len), |part| (part.start, part.len));
        let failed = mctl::advise::Skipped { start, len, errno };
        // The range of an entire address space says nothing.
        let place = match (&job.what, advised.failed_in) {
            (What::Entire, None) => "at the first mapping that fails".to_owned(),
            _ => format!("in {}", span(start, len)),
        };
        report::error(
            &format!(
                "process {pid}: {advice}: stopped {place}, after {so_far}: {} ({errno})",
                why(advice, &failed)
            ),
            Some("--skip-errors passes over what fails and goes on"),
        );
        return false;
    }
    if advised.advised == 0 && advised.skipped_total > 0 && job.style == Style::Terse {
        report::error(
            &format!(
                "process {pid}: {advice}: nothing was advised: {}",
                in_short(job, advised)
            ),
            None,
        );
        return false;
    }
    if !job.how.quiet && !advised.cancelled {
        notes(job, pid, given);
    }
    job.min_coverage
        .is_none_or(|least| covers(job, pid, given, least))
}

fn notes(job: &Job<'_>, pid: i32, given: &Given) {
    let (advice, advised) = (job.advice, &given.advised);
    if let Some(why) = &advised.bounds.ended {
        report::note(&format!(
            "process {pid}: {advice}: {why}; the rest was not done"
        ));
    }
    if job.style == Style::Terse && !job.how.verbose && advised.bounds.left_out.is_none() {
        for said in bounds::passed_over(&advised.bounds) {
            report::note(&format!("process {pid}: {advice}: {said}"));
        }
    }
    if advised.entries.is_empty() {
        if bounds::nothing_left(&advised.bounds) {
            return;
        }
        report::note(&format!("process {pid}: it has no such mapping"));
        return;
    }
    if job.style == Style::Terse && advised.skipped_total > 0 && !job.how.verbose {
        report::note(&format!(
            "process {pid}: {advice}: passed over {}",
            in_short(job, advised)
        ));
    }
}

/// `3 mappings: 2 locked (EINVAL), 1 …`.
fn in_short(job: &Job<'_>, advised: &Advised) -> String {
    let parts: Vec<String> = reasons(job.advice, advised)
        .iter()
        .map(|reason| format!("{} {} ({})", reason.mappings, reason.why, reason.errno))
        .collect();
    format!("{}: {}", mappings(advised.skipped_total), parts.join(", "))
}

/// Rounded down: 99.96 is not all.
fn percent(memory: &Coverage) -> String {
    memory.percent().map_or("–".to_owned(), |percent| {
        format!("{:.1} %", (percent * 10.0).floor() / 10.0)
    })
}

/// Whether enough is huge at the end; says it where it is not.
fn covers(job: &Job<'_>, pid: i32, given: &Given, least: f64) -> bool {
    let why = match &given.change {
        None => "its coverage cannot be seen".to_owned(),
        Some(change) => match change.after.memory.percent() {
            // Nothing there is nothing that is small.
            None => return true,
            Some(reached) if reached >= least => return true,
            Some(_) => format!(
                "{} of {} is in huge pages, less than the {least} % asked for",
                percent(&change.after.memory),
                change.after.memory.could_be_huge()
            ),
        },
    };
    // What was refused is the reason, as far as it goes; a map would not show it.
    let hint = match (given.advised.skipped_total, &given.change) {
        (0, None) => None,
        (0, Some(_)) => Some(format!("mctl map {pid} shows what is not, and why")),
        _ => Some(format!("refused were {}", in_short(job, &given.advised))),
    };
    report::error(&format!("process {pid}: collapse: {why}"), hint.as_deref());
    false
}
