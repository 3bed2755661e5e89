//! From mappings and their pages to lines of a picture, whatever it is drawn with.

use mctl::address_space::Kind;
use mctl::coverage::{Bytes, Coverage, kind_word};
use mctl::pages::{Cell, Resolution, State, VmaPages, by_vma};
use mctl::{Error, Target};

/// Why a drawing ended early.
#[derive(Debug)]
pub(super) enum Stop {
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

/// What a cell looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// In huge pages.
    Huge,
    /// In small pages that could be huge one day.
    Small,
    /// In small pages of a file.
    File,
    /// In small pages of a mapping that is advised against huge pages.
    Never,
    /// On swap.
    Swapped,
    /// Not there.
    NotPresent,
}

impl Look {
    /// Every look, in the order of the legend.
    pub(super) const ALL: [(Look, &'static str); 6] = [
        (Look::Huge, "huge"),
        (Look::Small, "small"),
        (Look::File, "small, of a file"),
        (Look::Never, "advised never"),
        (Look::Swapped, "swapped"),
        (Look::NotPresent, "not present"),
    ];

    fn of(state: State, vma: &VmaPages<'_>) -> Look {
        match state {
            State::Huge => Look::Huge,
            State::Small if vma.is_advised_never() => Look::Never,
            State::Small if vma.vma.kind == Kind::File => Look::File,
            State::Small => Look::Small,
            State::Swapped => Look::Swapped,
            State::NotPresent => Look::NotPresent,
        }
    }
}

/// A stretch of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many cells of one look.
    Cells(Look, u64),
    /// Not there, and too long to be drawn.
    LeftOut(Bytes),
}

/// One line of the picture, not yet broken to the page's width.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) start: u64,
    /// How many mappings it shows.
    pub(super) mappings: u64,
    pub(super) name: String,
    pub(super) coverage: Coverage,
    pub(super) pieces: Vec<Piece>,
}

/// How many bytes one cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale(pub(super) u64);

/// A picture is about as many full lines high, when everything is there.
const LINES: u64 = 24;
/// The smallest cell: a page.
const SMALLEST: u64 = 4096;
/// Stretches that are not there and longer than so many cells are left out.
const DRAWN: u64 = 8;

impl Scale {
    /// The scale at which all that is there fills a page.
    pub(super) fn of(total: &Coverage, columns: usize) -> Scale {
        let there = (total.rss + total.swap + total.hugetlb).0;
        let cells = (columns as u64).saturating_mul(LINES).max(1);
        let wanted = there.div_ceil(cells).max(SMALLEST);
        Scale(wanted.checked_next_power_of_two().unwrap_or(1 << 62))
    }

    fn cells(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.0)
    }
}

/// Draws every mapping of a target.
pub(super) fn draw<E>(
    target: &Target,
    scale: Scale,
    mut sink: impl FnMut(Line) -> Result<(), E>,
) -> Result<(), Stop>
where
    Stop: From<E>,
{
    let mut pack: Option<Pack> = None;
    by_vma(
        target,
        Resolution::CellBytes(scale.0),
        |pages| -> Result<(), Stop> {
            let coverage = &pages.vma.coverage;
            let there = coverage.rss + coverage.swap + coverage.hugetlb;
            if there.0 < scale.0 {
                pack.get_or_insert_with(|| Pack::new(pages.vma.start))
                    .add(pages, scale);
                return Ok(());
            }
            if let Some(line) = pack.take().and_then(|pack| pack.finish(scale)) {
                sink(line)?;
            }
            sink(own_line(pages, scale))?;
            Ok(())
        },
    )?;
    if let Some(line) = pack.and_then(|pack| pack.finish(scale)) {
        sink(line)?;
    }
    Ok(())
}

fn own_line(pages: &VmaPages<'_>, scale: Scale) -> Line {
    let mut pieces = Vec::new();
    for run in pages.runs() {
        let bytes = run.end.saturating_sub(run.start);
        let cells = scale.cells(bytes);
        push(
            &mut pieces,
            if run.state == State::NotPresent && cells > DRAWN {
                Piece::LeftOut(Bytes(bytes))
            } else {
                Piece::Cells(Look::of(run.state, pages), cells)
            },
        );
    }
    let name = pages.vma.printable_name();
    let name = if name.is_empty() {
        kind_word(pages.vma.kind).to_owned()
    } else if name.starts_with('/') {
        name.rsplit('/').next().unwrap_or(&name).to_owned()
    } else {
        name
    };
    Line {
        start: pages.vma.start,
        mappings: 1,
        name,
        coverage: pages.vma.coverage,
        pieces,
    }
}

fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    if let (Some(Piece::Cells(last, count)), Piece::Cells(look, more)) = (pieces.last_mut(), piece)
        && *last == look
    {
        *count = count.saturating_add(more);
        return;
    }
    pieces.push(piece);
}

/// Neighbouring mappings of which less than a cell is there: they share cells.
struct Pack {
    start: u64,
    mappings: u64,
    coverage: Coverage,
    pieces: Vec<Piece>,
    /// What was gathered for the next cell, by look.
    open: [u64; Look::ALL.len()],
}

impl Pack {
    fn new(start: u64) -> Pack {
        Pack {
            start,
            mappings: 0,
            coverage: Coverage::default(),
            pieces: Vec::new(),
            open: [0; Look::ALL.len()],
        }
    }

    fn add(&mut self, pages: &VmaPages<'_>, scale: Scale) {
        self.mappings += 1;
        self.coverage.add(&pages.vma.coverage);
        let sum: Cell = pages.sum();
        for state in [State::Huge, State::Small, State::Swapped] {
            let look = Look::of(state, pages);
            if let Some(slot) = self.open.get_mut(look as usize) {
                *slot = slot.saturating_add(sum.of(state).0);
            }
        }
        while self.open.iter().sum::<u64>() >= scale.0 {
            self.close(scale);
        }
    }

    /// Draws one cell from what was gathered.
    fn close(&mut self, scale: Scale) {
        let most = Look::ALL
            .iter()
            .map(|(look, _)| *look)
            .max_by_key(|look| self.open.get(*look as usize).copied().unwrap_or(0));
        if let Some(look) = most {
            push(&mut self.pieces, Piece::Cells(look, 1));
        }
        let mut left = scale.0;
        for slot in &mut self.open {
            let taken = left.min(*slot);
            *slot -= taken;
            left -= taken;
        }
    }

    /// `None` where nothing of all the mappings is there.
    fn finish(mut self, scale: Scale) -> Option<Line> {
        if self.open.iter().any(|bytes| *bytes > 0) {
            self.close(scale);
        }
        if self.pieces.is_empty() {
            return None;
        }
        let name = match self.mappings {
            1 => "1 small mapping".to_owned(),
            many => format!("{many} small mappings"),
        };
        Some(Line {
            start: self.start,
            mappings: self.mappings,
            name,
            coverage: self.coverage,
            pieces: self.pieces,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_fits_the_page() {
        let total = |rss| Coverage {
            rss: Bytes(rss),
            ..Coverage::default()
        };
        assert_eq!(Scale::of(&total(0), 50), Scale(4096));
        assert_eq!(Scale::of(&total(1 << 30), 50), Scale(1 << 20));
        assert_eq!(Scale::of(&total(u64::MAX), 50).0.count_ones(), 1);
    }

    #[test]
    fn equal_neighbours_become_one_piece() {
        let mut pieces = Vec::new();
        push(&mut pieces, Piece::Cells(Look::Huge, 2));
        push(&mut pieces, Piece::Cells(Look::Huge, 3));
        push(&mut pieces, Piece::LeftOut(Bytes(1)));
        push(&mut pieces, Piece::Cells(Look::Huge, 1));
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces.first(), Some(&Piece::Cells(Look::Huge, 5)));
    }

    #[test]
    fn ourselves() {
        let own = Target::own().unwrap();
        let total = Coverage::by_vma(&own, |_| Ok::<(), Error>(())).unwrap();
        let scale = Scale::of(&total, 60);
        let mut cells = 0;
        let mut last = 0;
        draw(&own, scale, |line| -> Result<(), std::io::Error> {
            assert!(line.start >= last && !line.name.is_empty() && !line.pieces.is_empty());
            last = line.start;
            for piece in &line.pieces {
                if let Piece::Cells(look, count) = piece {
                    cells += if *look == Look::NotPresent { 0 } else { *count };
                }
            }
            Ok(())
        })
        .unwrap();
        // Every stretch is rounded up, so there may be some more than fit.
        assert!(cells > 0 && cells < 60 * LINES * 4, "{cells}");
    }
}
