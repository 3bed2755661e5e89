//! What was seen, as Markdown.

use clap::ValueEnum as _;

use super::pace::Compared;
use super::useful::Useful;
use super::{Part, Seen};
use std::fmt::Write as _;

/// Every table of a run.
pub(super) fn of(seen: &[Seen]) -> String {
    let mut text = String::new();
    for seen in seen {
        match seen {
            Seen::Host(host) => {
                let _ = writeln!(
                    text,
                    "{}, Linux {}, {} processors, load average {} at the start\n",
                    host.mctl, host.kernel, host.processors, host.load
                );
            }
            Seen::Missing { program, part, why } => {
                let part = part
                    .map(|part| format!(", {}", part.name()))
                    .unwrap_or_default();
                let _ = writeln!(text, "Not tried: {}{part}: {why}\n", program.name());
            }
            Seen::Pace(_) | Seen::Useful(_) => {}
        }
    }
    let paces: Vec<_> = seen
        .iter()
        .filter_map(|s| if let Seen::Pace(c) = s { Some(c) } else { None })
        .collect();
    if !paces.is_empty() {
        text.push_str(PACE);
        paces.iter().for_each(|compared| pace(&mut text, compared));
        text.push('\n');
    }
    let useful: Vec<_> = seen
        .iter()
        .filter_map(|s| {
            if let Seen::Useful(u) = s {
                Some(u)
            } else {
                None
            }
        })
        .collect();
    if !useful.is_empty() {
        text.push_str(USEFUL);
        useful.iter().for_each(|counted| row(&mut text, counted));
        text.push('\n');
    }
    results(&mut text, &paces, &useful);
    text
}

/// A line for each part: what it comes to.
fn results(text: &mut String, paces: &[&Compared], useful: &[&Useful]) {
    for part in Part::value_variants() {
        let name = part.name();
        let of_part: Vec<_> = paces.iter().filter(|c| c.part == *part).collect();
        if !of_part.is_empty() {
            let kept = of_part.iter().filter(|c| c.kept).count();
            let all = of_part.len();
            let _ = writeln!(
                text,
                "result: {name}: {kept} of {all} timers kept the pace of their twins"
            );
        }
        let of_part: Vec<_> = useful.iter().filter(|u| u.part == *part).collect();
        if !of_part.is_empty() {
            let tries: u32 = of_part.iter().map(|u| u.tries).sum();
            let succeeded: u32 = of_part.iter().map(|u| u.succeeded).sum();
            let enough = of_part.iter().filter(|u| u.is_enough()).count();
            let all = of_part.len();
            let _ = writeln!(
                text,
                "result: {name}: {succeeded} of {tries} changes succeeded; 99 of 100 in {enough} of {all} programs"
            );
        }
    }
}

const PACE: &str = "\
| program | part | timer | fired: twin, treated | late p50, ms | late p90, ms | late max, ms | done to it | kept pace |
|---|---|---|---|---|---|---|---|---|
";

fn pace(text: &mut String, c: &Compared) {
    let done = &c.done;
    let mut what = format!("{} reads", done.reads);
    if done.reads_failed > 0 {
        let _ = write!(what, " ({} failed)", done.reads_failed);
    }
    if done.changes > 0 {
        let _ = write!(
            what,
            ", {} changes: {} injections, {} refused",
            done.changes, done.injections, done.refused
        );
    }
    let both = |pick: fn(&super::ticks::Pace) -> i64| {
        format!("{}, {}", ms(pick(&c.twin)), ms(pick(&c.treated)))
    };
    let _ = writeln!(
        text,
        "| {} | {} | {} | {}, {} | {} | {} | {} | {what} | {} |",
        c.program.name(),
        c.part.name(),
        c.timer,
        c.twin.ticks,
        c.treated.ticks,
        both(|p| p.late_p50_us),
        both(|p| p.late_p90_us),
        both(|p| p.late_max_us),
        if c.kept { "yes" } else { "**no**" },
    );
}

fn ms(us: i64) -> String {
    format!(
        "{}{}.{:02}",
        if us < 0 { "-" } else { "" },
        us.abs() / 1000,
        us.abs() % 1000 / 10
    )
}

const USEFUL: &str = "\
| program | | succeeded | command p50 / p99 / max, ms | thread stopped p50 / p99 / max, µs | refused |
|---|---|---|---|---|---|
";

fn row(text: &mut String, u: &Useful) {
    let mut refused = Vec::new();
    for (name, role) in &u.roles {
        if role.refused == 0 {
            continue;
        }
        let reasons: Vec<String> = role
            .reasons
            .iter()
            .map(|(why, n)| format!("{n} × {why}"))
            .collect();
        let all = role.changed + role.refused;
        refused.push(format!(
            "{name}: {} of {all}: {}",
            role.refused,
            reasons.join("; ")
        ));
    }
    let took = u
        .took_us
        .map(|us| ms(i64::try_from(us).unwrap_or(i64::MAX)))
        .join(" / ");
    let stopped = u.stopped_us.map(|us| us.to_string()).join(" / ");
    let _ = writeln!(
        text,
        "| {} | {} | {} of {} | {took} | {stopped} | {} |",
        u.program.name(),
        u.part.name(),
        u.succeeded,
        u.tries,
        if refused.is_empty() {
            "–".to_owned()
        } else {
            refused.join("<br>")
        },
    );
}
