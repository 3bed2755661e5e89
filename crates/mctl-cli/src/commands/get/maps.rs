//! `mctl get --maps`: one line a mapping, in little memory whatever the number of mappings.
//!
//! A listing is read whole before the first line of it goes out: whoever takes the output may take it as slowly
//! as it likes, and the process's files are closed by then.

use std::io::Write;

use mctl::address_space::Kind;
use mctl::coverage::{Coverage, Vma, advice_word, kind_word};
use mctl::why::{Advised, Setting, Why};
use mctl::{Error, Known, Look, Reading, Target, ThpHost};
use serde::Serialize;

use crate::exit;
use crate::fail::{Ended, Fail};
use crate::output::{JSON_VERSION, Out, kept};
use crate::report::{self, JsonError};

use super::columns::{Style, percent_text, size};
use super::{Get, row};

pub(super) fn print(targets: &[Target], failed: &[(i32, Error)], look: Look, args: &Get) -> Ended {
    let (json, headings) = (args.json, !args.noheadings);
    let host = ThpHost::read()?;
    let style = Style { bytes: args.bytes };
    let mut out = Out::new();
    let mut code = exit::DONE;
    if json {
        write!(out, "{{\"version\":{JSON_VERSION},\"processes\":[")?;
        for (index, (pid, error)) in failed.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(out, "{comma}{}", not_read(*pid, error))?;
        }
    }
    for (index, target) in targets.iter().enumerate() {
        if json && index + failed.len() > 0 {
            out.write_all(b",")?;
        }
        if !json && targets.len() > 1 {
            let gap = if index > 0 { "\n" } else { "" };
            writeln!(out, "{gap}process {} ({})", target.pid(), target.name())?;
        }
        let mut missing = Vec::new();
        let policy = row::policy(target, look, &mut missing).map(|reading| {
            let thp = reading.as_ref().map_or(Known::Unknown, Reading::thp);
            let word = reading.as_ref().map(Reading::thp_word);
            (Setting::new(host.as_ref(), thp), word)
        });
        for (what, error) in &missing {
            tell(target, error, what);
            if *what == "policy" && matches!(&policy, Ok((_, Some(_)))) {
                row::from_proc(target.pid());
            }
            code = exit::FAILED;
        }
        let result = match policy {
            Err(error) => {
                if json {
                    write!(out, "{}", not_read(target.pid(), &error))?;
                }
                Err(Stop::Process(error))
            }
            Ok((setting, word)) if json => kept(&mut out, |page| {
                one_json(page, target, &setting, word.as_deref())
            }),
            Ok((setting, _)) => kept(&mut out, |page| {
                one(page, target, &setting, style, headings)
            }),
        };
        match result {
            Ok(()) => {}
            Err(Stop::Output(error)) => return Err(Fail::Output(error)),
            Err(Stop::Process(error)) => {
                tell(target, &error, "mappings");
                code = exit::FAILED;
            }
        }
    }
    if json {
        out.write_all(b"]}\n")?;
    }
    out.finish()?;
    Ok(code)
}

/// A process of which nothing was read.
fn not_read(pid: i32, error: &Error) -> serde_json::Value {
    serde_json::json!({ "pid": pid, "maps": [], "error": JsonError::of(error) })
}

fn tell(target: &Target, error: &Error, what: &str) {
    let what = format!("read its {what}");
    let sentence = report::sentence(error, &target.pid().to_string(), &what);
    report::error(&sentence, error.hint().as_deref());
}

/// Why a listing ended early.
enum Stop {
    Process(Error),
    Output(std::io::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Process(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Stop {
        Stop::Output(error)
    }
}

fn one(
    out: &mut impl Write,
    target: &Target,
    setting: &Setting,
    style: Style,
    headings: bool,
) -> Result<(), Stop> {
    // Addresses have 12 digits on x86-64 with four levels, sizes in bytes up to 15.
    let wide = if style.bytes { 15 } else { 5 };
    if headings {
        writeln!(
            out,
            "{:<25} {:<4} {:<9} {:<10} {:>wide$} {:>wide$} {:>wide$} {:>wide$} {:>8} {:<27} NAME",
            "ADDRESS", "PERM", "KIND", "ADVICE", "SIZE", "RSS", "ANON", "HUGE", "COVERAGE", "WHY"
        )?;
    }
    let mut why = Why::default();
    let total = Coverage::by_vma(target, |vma| -> Result<(), Stop> {
        let reasons = setting.explain(vma);
        why.add(&reasons);
        line(out, vma, &reasons, style, wide)?;
        Ok(())
    })?;
    let coverage = total.percent().map_or("-".to_owned(), percent_text);
    writeln!(
        out,
        "{:<25} {:<4} {:<9} {:<10} {:>wide$} {:>wide$} {:>wide$} {:>wide$} {coverage:>8} {}",
        "total",
        "",
        "",
        "",
        size(total.size, style),
        size(total.rss, style),
        size(total.could_be_huge(), style),
        size(total.huge(), style),
        why.summary(&total),
    )?;
    Ok(())
}

fn line(
    out: &mut impl Write,
    vma: &Vma<'_>,
    why: &Why,
    style: Style,
    wide: usize,
) -> std::io::Result<()> {
    let (all, huge) = if vma.kind == Kind::Shmem {
        (vma.coverage.shmem, vma.coverage.shmem_huge)
    } else {
        (vma.coverage.anonymous, vma.coverage.anon_huge)
    };
    let coverage = huge.percent_of(all).map_or("-".to_owned(), percent_text);
    let range = format!("{:x}-{:x}", vma.start, vma.end);
    writeln!(
        out,
        "{range:<25} {:<4} {:<9} {:<10} {:>wide$} {:>wide$} {:>wide$} {:>wide$} {coverage:>8} {:<27} {}",
        vma.perms_text(),
        kind_word(vma.kind),
        advice_word(vma.advice).unwrap_or("-"),
        size(vma.coverage.size, style),
        size(vma.coverage.rss, style),
        size(all, style),
        size(huge, style),
        why.summary(&vma.coverage),
        vma.printable_name(),
    )
}

#[derive(Serialize)]
struct JsonVma<'a> {
    #[serde(flatten)]
    vma: &'a Vma<'a>,
    why: &'a Why,
}

fn one_json(
    mut out: &mut impl Write,
    target: &Target,
    setting: &Setting,
    thp: Option<&str>,
) -> Result<(), Stop> {
    let thp = serde_json::json!(thp);
    write!(out, "{{\"pid\":{},\"thp\":{thp},\"maps\":[", target.pid())?;
    let mut first = true;
    let mut advised = Advised::default();
    let done = Coverage::by_vma(target, |vma| -> Result<(), Stop> {
        advised.see(vma);
        out.write_all(if first { b"\n" } else { b",\n" })?;
        first = false;
        let why = &setting.explain(vma);
        serde_json::to_writer(&mut out, &JsonVma { vma, why }).map_err(std::io::Error::from)?;
        Ok(())
    });
    // What was begun is closed, also where the process ended meanwhile.
    match done {
        Ok(total) => {
            out.write_all(b"],\"total\":")?;
            serde_json::to_writer(&mut out, &total).map_err(std::io::Error::from)?;
            out.write_all(b",\"advised\":")?;
            serde_json::to_writer(&mut out, &advised).map_err(std::io::Error::from)?;
            out.write_all(b"}")?;
            Ok(())
        }
        Err(Stop::Output(error)) => Err(Stop::Output(error)),
        Err(Stop::Process(error)) => {
            let json = serde_json::json!(JsonError::of(&error));
            write!(out, "],\"error\":{json}}}")?;
            Err(Stop::Process(error))
        }
    }
}
