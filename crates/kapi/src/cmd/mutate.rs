//! `kapi mutate`

use std::collections::BTreeMap;

use anyhow::Result;
use kapi::clause::ClauseKind;
use kapi::mutate::{Mutant, mutants};
use kapi::verify::{Verdict, Verification, verify};

use super::input::Input;
use super::{Status, print};

/// Make specifications that are wrong in one place, and see whether kapi verify notices
///
/// Without --verify the mistakes are listed. Exit status with --verify: 0 no mutant was confirmed
/// and the original was not contradicted, 1 otherwise, 3 the kernel does not have the call.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi mutate mlockall
  kapi mutate mlockall --verify --each 2")]
pub(super) struct Args {
    /// The calls; all without any
    calls: Vec<String>,

    #[command(flatten)]
    input: Input,

    /// Verify each mutant on the running kernel
    #[arg(long)]
    verify: bool,

    /// At most so many mutants of each clause, spread over all of them
    #[arg(long, value_name = "COUNT")]
    each: Option<usize>,

    /// Only a part of the mutants, the second of four say, so that a long run can be divided
    #[arg(long, value_name = "N/M", value_parser = part)]
    part: Option<(usize, usize)>,
}

/// `2/4`
fn part(text: &str) -> Result<(usize, usize), String> {
    text.split_once('/')
        .and_then(|(n, m)| Some((n.parse().ok()?, m.parse().ok()?)))
        .filter(|(n, m)| (1..=*m).contains(n))
        .ok_or_else(|| format!("`{text}` is no part such as 2/4"))
}

/// How the mutants of one kind of clause fared.
#[derive(Default)]
struct Tally {
    caught: usize,
    unconfirmed: usize,
    untried: usize,
    missed: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let specs = if args.calls.is_empty() {
        args.input.specs()?
    } else {
        args.calls
            .iter()
            .map(|name| args.input.one(name))
            .collect::<Result<Vec<_>>>()?
    };
    let mut tallies: BTreeMap<ClauseKind, Tally> = BTreeMap::new();
    let mut out = String::new();
    let (mut wrong, mut present) = (0, 0);
    for spec in &specs {
        let mut chosen = spread(mutants(spec), args.each);
        if let Some((n, of)) = args.part {
            chosen = chosen.into_iter().skip(n - 1).step_by(of).collect();
        }
        if !args.verify {
            for mutant in &chosen {
                out.push_str(&format!("{}: {}\n", mutant.clause, mutant.what));
            }
            continue;
        }
        let original = verify(spec, false)?;
        if !original.present {
            out.push_str(&format!("{}: not in this kernel\n", original.call));
            continue;
        }
        present += 1;
        for finding in &original.findings {
            if finding.verdict == Verdict::Contradicted {
                wrong += 1;
                out.push_str(&format!(
                    "the original is contradicted: {}\n",
                    finding.clause.id
                ));
            }
        }
        for mutant in &chosen {
            let done = verify(&mutant.spec, false)?;
            let tally = tallies.entry(mutant.kind).or_default();
            judge(mutant, &original, &done, tally);
        }
    }
    if !args.verify {
        print(&out)?;
        return Ok(Status::Good);
    }
    out.push_str("| clause | mutants | caught | not confirmed | not attempted | missed |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    for (kind, t) in &tallies {
        let all = t.caught + t.unconfirmed + t.untried + t.missed.len();
        out.push_str(&format!(
            "| {} | {all} | {} | {} | {} | {} |\n",
            kind.tag(),
            t.caught,
            t.unconfirmed,
            t.untried,
            t.missed.len()
        ));
        wrong += t.missed.len();
    }
    for missed in tallies.values().flat_map(|t| &t.missed) {
        out.push_str(&format!("missed: {missed}\n"));
    }
    print(&out)?;
    Ok(if wrong > 0 {
        Status::Found
    } else if present == 0 {
        Status::Missing
    } else {
        Status::Good
    })
}

/// At most `each` of a clause, from all over its mutants.
fn spread(all: Vec<Mutant>, each: Option<usize>) -> Vec<Mutant> {
    let Some(each) = each else {
        return all;
    };
    let mut by_clause: BTreeMap<String, Vec<Mutant>> = BTreeMap::new();
    for mutant in all {
        by_clause
            .entry(mutant.clause.clone())
            .or_default()
            .push(mutant);
    }
    by_clause
        .into_values()
        .flat_map(|mutants| {
            let step = mutants.len().div_ceil(each.max(1)).max(1);
            mutants.into_iter().step_by(step)
        })
        .collect()
}

fn judge(mutant: &Mutant, original: &Verification, done: &Verification, tally: &mut Tally) {
    let of = |verification: &Verification| {
        verification
            .findings
            .iter()
            .find(|f| f.clause.kind == mutant.kind && f.clause.index == mutant.index)
            .map(|f| f.verdict)
    };
    if done.count(Verdict::Contradicted) > original.count(Verdict::Contradicted) {
        tally.caught += 1;
    } else if of(done) == Some(Verdict::Confirmed) {
        tally
            .missed
            .push(format!("{}: {}", mutant.clause, mutant.what));
    } else if matches!(
        of(original),
        Some(Verdict::NotAttempted | Verdict::NotObservable)
    ) {
        tally.untried += 1;
    } else {
        tally.unconfirmed += 1;
    }
}
