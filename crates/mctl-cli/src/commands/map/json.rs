//! The picture for programs.

use std::io::{self, Write};

use mctl::Target;
use mctl::coverage::{Coverage, Vma};
use mctl::pages::{Resolution, Source, State, VmaPages, by_vma};
use serde::Serialize;

use super::layout::{Scale, Stop};
use crate::exit;
use crate::output::{JSON_VERSION, Kept, Out, kept};
use crate::report::JsonError;

/// As many cells as 24 lines of so many columns: page by page up to 96 MB of memory that is there.
const COLUMNS: usize = 1000;

#[derive(Serialize)]
struct Mapping<'a> {
    #[serde(flatten)]
    vma: &'a Vma<'a>,
    source: Source,
    runs: Vec<Run>,
}

/// Neighbouring cells of one state.
#[derive(Serialize)]
struct Run {
    start: String,
    size: u64,
    state: State,
}

impl<'a> Mapping<'a> {
    fn of(pages: &'a VmaPages<'a>) -> Mapping<'a> {
        let run = |run: mctl::pages::Run| Run {
            start: format!("{:#x}", run.start),
            size: run.end.saturating_sub(run.start),
            state: run.state,
        };
        Mapping {
            vma: pages.vma,
            source: pages.source,
            runs: pages.runs().map(run).collect(),
        }
    }
}

/// Prints every mapping. Of a process that ends meanwhile an `error` stands where the total would.
pub(super) fn print(target: &Target, name: &str, total: &Coverage) -> Result<u8, Stop> {
    let scale = Scale::of(total, COLUMNS);
    let mut out = Out::new();
    let printed = kept(&mut out, |page| document(page, target, name, scale));
    out.finish()?;
    printed.map(|()| exit::DONE)
}

fn document(page: &mut Kept, target: &Target, name: &str, scale: Scale) -> Result<(), Stop> {
    let head = serde_json::json!({
        "version": JSON_VERSION,
        "pid": target.pid(),
        "inode": target.spec().inode,
        "name": name,
        "cell_bytes": scale.0,
    });
    // The list is written as it comes, so the object stays open.
    let head = head.to_string();
    write!(page, "{},\"mappings\":[", head.trim_end_matches('}'))?;
    let mut between: &[u8] = b"\n";
    let listed = by_vma(
        target,
        Resolution::CellBytes(scale.0),
        |pages| -> Result<(), Stop> {
            page.write_all(between)?;
            between = b",\n";
            serde_json::to_writer(&mut *page, &Mapping::of(pages)).map_err(io::Error::from)?;
            Ok(())
        },
    );
    match listed {
        Ok(total) => {
            let total = serde_json::json!(total);
            writeln!(page, "],\"total\":{total}}}")?;
            Ok(())
        }
        Err(Stop::Process(error)) => {
            let json = serde_json::json!(JsonError::of(&error));
            writeln!(page, "],\"error\":{json}}}")?;
            Err(Stop::Process(error))
        }
        Err(stop) => Err(stop),
    }
}
