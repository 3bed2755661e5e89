//! `mctl map`: an address space as a picture.

mod json;
mod layout;
mod svg;
mod terminal;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::Target;
use mctl::coverage::Coverage;

use crate::cli::Entry;
use crate::exit;
use crate::fail::{Ended, Fail, hint, plain};
use crate::output::{Colour, Out, kept};
use crate::report;
use crate::words;

use layout::{Scale, Stop, draw};

pub(crate) const ENTRY: Entry = Entry {
    name: "map",
    about: "show the address space of a process as a picture",
    long: "One line a mapping, lowest address first, at one scale for all: what is in huge pages, in \
           small pages, swapped out, or not there; and what is advised against huge pages. Small \
           neighbours share a line, and long stretches that are not there are left out, with their \
           size. Nothing is stopped for it.",
    define: Map::augment_args,
    run,
    takes_policies: false,
    examples: &[
        ("mctl map 1234", "draw it in the terminal"),
        (
            "mctl map --svg redis.svg 1234",
            "write the picture as SVG, for a report",
        ),
        (
            "mctl map --json 1234",
            "the same for programs, page by page where it is small",
        ),
        (
            "mctl map --color always 1234 | less -R",
            "page through a large one",
        ),
    ],
};

/// Narrower pictures say nothing, wider ones cannot be read.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=1000;

#[derive(Args, Debug)]
struct Map {
    /// The process
    #[arg(value_name = "PID", required = true, allow_negative_numbers = true)]
    process: OsString,
    /// Write an SVG picture; - is standard output
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "json")]
    svg: Option<PathBuf>,
    /// Make lines so many columns wide, 40 to 1000; else as wide as the terminal
    #[arg(short, long, value_name = "COLUMNS")]
    width: Option<usize>,
    /// Use colour always, never, or on a terminal (auto)
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true
    )]
    color: Colour,
    /// Draw with ASCII characters only
    #[arg(long)]
    ascii: bool,
    /// Print JSON: every mapping with the states of its pages
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches) -> Ended {
    let args = Map::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    if args.width.is_some_and(|width| !WIDTHS.contains(&width)) {
        return Err(Fail::usage("--width takes 40 to 1000 columns"));
    }
    let spec = words::process(&args.process)?;
    let target = Target::open(spec).map_err(|error| failed(&error, spec.pid))?;
    let total = Coverage::by_vma(&target, |_| Ok::<(), mctl::Error>(()))
        .map_err(|error| failed(&error, spec.pid))?;
    let name = target.name();
    if args.json {
        return json::print(&target, &name, &total).map_err(|stop| match stop {
            Stop::Output(error) => Fail::Output(error),
            Stop::Process(error) => failed(&error, spec.pid),
        });
    }
    let result = match &args.svg {
        Some(path) => {
            let scale = Scale::of(&total, svg::COLUMNS);
            let mut picture = svg::Picture::new(&target, &name, &total, scale);
            draw(&target, scale, |line| picture.line(&line)).map(|()| {
                let text = picture.finish();
                save(path, &text)
            })
        }
        None => {
            let ink = terminal::Ink::choose(args.color.wanted(), args.ascii);
            let page = terminal::Page::new(ink, args.width.unwrap_or_else(terminal::width));
            let scale = Scale::of(&total, page.columns());
            let mut out = Out::new();
            page.head(&mut out, &target, &name, &total, scale)?;
            let drawn: Result<(), Stop> = kept(&mut out, |picture| {
                draw(&target, scale, |line| page.line(picture, &line))
            });
            drawn.map(|()| {
                out.finish()?;
                Ok(())
            })
        }
    };
    match result {
        Ok(done) => done?,
        Err(Stop::Output(error)) => return Err(Fail::Output(error)),
        Err(Stop::Process(error)) => return Err(failed(&error, spec.pid)),
    }
    Ok(exit::DONE)
}

fn failed(error: &mctl::Error, pid: i32) -> Fail {
    Fail::Failed {
        why: report::sentence(error, &pid.to_string(), "map"),
        hint: error.hint(),
    }
}

fn save(path: &std::path::Path, text: &str) -> Result<(), Fail> {
    if path.as_os_str() == "-" {
        let mut out = Out::new();
        out.write_all(text.as_bytes())?;
        out.finish()?;
        return Ok(());
    }
    std::fs::write(path, text).map_err(|error| Fail::Failed {
        why: format!("{}: {}", report::shown(path), plain(&error)),
        hint: hint(&error).map(str::to_owned),
    })
}
