//! Which mappings.

use clap::Args;
use mctl::advise::{Advise, Range, Selection};

use super::parse;
use crate::fail::Fail;

/// The arguments that choose mappings.
#[derive(Args, Debug)]
pub(crate) struct Choice {
    /// Only this range, hexadecimal as in /proc/PID/maps: START-END, or START+LENGTH; may be repeated
    #[arg(long, value_name = "RANGE", value_parser = parse::range, allow_hyphen_values = true, help_heading = "Which memory")]
    range: Vec<Range>,
    /// Only mappings whose path or name in brackets matches this shell pattern; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "Which memory")]
    maps: Vec<String>,
    /// Only private anonymous memory, heap and stacks included
    #[arg(long, help_heading = "Which memory")]
    anon: bool,
    /// Only shared memory: memfd, tmpfs, System V
    #[arg(long, help_heading = "Which memory")]
    shmem: bool,
    /// Only mappings of files
    #[arg(long, help_heading = "Which memory")]
    file: bool,
    /// Only the heap
    #[arg(long, help_heading = "Which memory")]
    heap: bool,
    /// Only the stack of the first thread
    #[arg(long, help_heading = "Which memory")]
    stack: bool,
}

/// What to advise.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Entire,
    Ranges(Vec<Range>),
    Selected(Selection),
}

impl Choice {
    /// What was chosen; `None` where nothing was said.
    pub(crate) fn what(&self) -> Result<Option<What>, Fail> {
        let mut selection = Selection::all();
        if self.anon {
            selection = selection.anonymous();
        }
        if self.shmem {
            selection = selection.shmem();
        }
        if self.file {
            selection = selection.files();
        }
        if self.heap {
            selection = selection.heap();
        }
        if self.stack {
            selection = selection.stack();
        }
        for pattern in &self.maps {
            selection = selection.named(pattern)?;
        }
        if selection == Selection::all() {
            let ranges = self.range.clone();
            return Ok((!ranges.is_empty()).then_some(What::Ranges(ranges)));
        }
        let within = |selection: Selection, range: &Range| selection.within(*range);
        Ok(Some(What::Selected(
            self.range.iter().fold(selection, within),
        )))
    }
}

impl What {
    pub(crate) fn put_into(&self, advise: Advise) -> Advise {
        match self {
            What::Entire => advise.entire_address_space(),
            What::Ranges(ranges) => advise.ranges(ranges.clone()),
            What::Selected(selection) => advise.selected(selection.clone()),
        }
    }
}
