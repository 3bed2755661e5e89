//! The columns of `mctl get`: one declaration each is the source of the help, the parser, the
//! table and the JSON.

use std::cmp::Ordering;

use mctl::Known;
use mctl::coverage::{Bytes, Coverage};
use mctl::why::Advised;
use serde_json::Value;

use crate::fail::Fail;
use crate::table::Align;

use super::row::{Need, Row};

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) align: Align,
    pub(super) about: &'static str,
    /// What has to be read for it.
    pub(super) need: Need,
    /// When it is printed where it was not asked for by name.
    pub(super) shown: Shown,
    pub(super) cell: fn(&Row) -> Cell,
}

impl Column {
    /// Its name in JSON, where names hold the unit and have underscores between words.
    pub(super) fn key(&self) -> String {
        match self.name {
            "COVERAGE" => "coverage_percent".to_owned(),
            "ANONHUGE" => "anon_huge".to_owned(),
            "SHMEMHUGE" => "shmem_huge".to_owned(),
            "FILEHUGE" => "file_huge".to_owned(),
            name => name.to_ascii_lowercase(),
        }
    }
}

/// When a column of the default is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Always,
    /// Where it says something of any process.
    WhereAny,
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// It could not be read.
    Unknown,
    /// There is none.
    None,
    Text(String),
    Size(Bytes),
    Percent(f64),
    Number(i64),
    Inode(u64),
    Flag(bool),
    /// So much, in so many mappings.
    Mappings(Advised),
    /// Policies; none: as the host says.
    Words(Vec<&'static str>),
    /// Policies of which not all could be read: for people only. A program finds each part in a field of its own.
    Partly(String),
}

/// How sizes are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) bytes: bool,
}

impl Cell {
    pub(super) fn text(&self, style: Style) -> String {
        match self {
            Cell::Unknown => "?".to_owned(),
            Cell::None => "-".to_owned(),
            Cell::Text(text) | Cell::Partly(text) => text.clone(),
            Cell::Size(bytes) => size(*bytes, style),
            Cell::Percent(percent) => percent_text(*percent),
            Cell::Number(number) => number.to_string(),
            Cell::Inode(inode) => inode.to_string(),
            Cell::Flag(true) => "yes".to_owned(),
            Cell::Flag(false) => "no".to_owned(),
            Cell::Mappings(advised) if advised.mappings == 0 => "-".to_owned(),
            Cell::Mappings(advised) => {
                format!("{} in {}", size(advised.bytes, style), advised.mappings)
            }
            Cell::Words(words) if words.is_empty() => "inherit".to_owned(),
            Cell::Words(words) => words.join(","),
        }
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Cell::Unknown | Cell::None | Cell::Partly(_) => Value::Null,
            Cell::Text(text) => text.as_str().into(),
            Cell::Size(bytes) => bytes.0.into(),
            Cell::Percent(percent) => serde_json::json!(percent),
            Cell::Number(number) => (*number).into(),
            Cell::Inode(inode) => (*inode).into(),
            Cell::Flag(flag) => (*flag).into(),
            Cell::Mappings(advised) => serde_json::json!(advised),
            Cell::Words(words) => words.clone().into(),
        }
    }

    fn rank(&self) -> Rank {
        match self {
            Cell::Unknown | Cell::None => Rank::Nothing,
            Cell::Text(text) | Cell::Partly(text) => Rank::Text(text.to_lowercase()),
            Cell::Size(bytes) => Rank::Whole(bytes.0.into()),
            Cell::Percent(percent) => Rank::Part(*percent),
            Cell::Number(number) => Rank::Whole((*number).into()),
            Cell::Inode(inode) => Rank::Whole((*inode).into()),
            Cell::Flag(flag) => Rank::Whole((*flag).into()),
            Cell::Mappings(advised) => Rank::Whole(advised.bytes.0.into()),
            Cell::Words(words) => Rank::Text(words.join(",")),
        }
    }

    /// Whether it says more than that there is nothing to say.
    pub(super) fn is_something(&self) -> bool {
        match self {
            Cell::Unknown | Cell::None => false,
            Cell::Mappings(advised) => advised.mappings > 0,
            Cell::Size(bytes) => !bytes.is_zero(),
            _ => true,
        }
    }
}

/// `1.5G`, as lsblk(8) and ps(1) write it: no blank, so that columns can be told apart.
pub(super) fn size(bytes: Bytes, style: Style) -> String {
    if style.bytes {
        return bytes.0.to_string();
    }
    let text = bytes.to_string();
    match text.split_once(' ') {
        Some((number, "B")) => number.to_owned(),
        Some((number, unit)) => format!("{number}{}", unit.trim_end_matches("iB")),
        None => text,
    }
}

/// One decimal, rounded down: 100 is said only of all of it.
pub(in crate::commands) fn percent_text(percent: f64) -> String {
    format!("{:.1}%", (percent * 10.0).floor() / 10.0)
}

fn from_coverage(row: &Row, value: impl FnOnce(&Coverage) -> Cell) -> Cell {
    row.coverage.as_ref().map_or(Cell::Unknown, value)
}

fn from_facts(row: &Row, value: impl FnOnce(&mctl::process::ProcessFacts) -> Cell) -> Cell {
    row.facts.as_ref().map_or(Cell::Unknown, value)
}

fn or_none(bytes: Option<Bytes>) -> Cell {
    bytes.map_or(Cell::None, Cell::Size)
}

fn policy(row: &Row) -> Cell {
    let Some(reading) = &row.reading else {
        return Cell::Unknown;
    };
    if let Some(record) = reading.record {
        let kinds = mctl::PolicyKind::ALL.into_iter();
        let mut words: Vec<_> = kinds
            .filter(|kind| record.has(*kind))
            .map(mctl::PolicyKind::word)
            .collect();
        if reading.is_held_back() {
            words.push("thp-disabled");
        }
        return Cell::Words(words);
    }
    match (reading.thp(), reading.mergeable) {
        (Known::Is(thp), Known::Is(mergeable)) => {
            let merge = mergeable.then_some(mctl::PolicyKind::Mergeable);
            let kinds = thp.kind().into_iter().chain(merge);
            Cell::Words(kinds.map(mctl::PolicyKind::word).collect())
        }
        (_, mergeable) => {
            let merge = match mergeable {
                Known::Is(false) => "",
                Known::Is(true) => ",mergeable",
                Known::Either(..) | Known::Other(_) | Known::Unknown => ",mergeable?",
            };
            Cell::Partly(format!("{}{merge}", reading.thp_word()))
        }
    }
}

fn across_exec(row: &Row) -> Cell {
    let Some(reading) = &row.reading else {
        return Cell::Unknown;
    };
    match reading.policy() {
        None => Cell::Unknown,
        Some(policy) if policy.mask() == 0 => Cell::None,
        Some(policy) => Cell::Flag(
            mctl::PolicyKind::ALL
                .into_iter()
                .any(|k| policy.survives_exec(k)),
        ),
    }
}

macro_rules! columns {
    ($($name:literal $align:ident $shown:ident [$($need:ident)*] $about:literal $cell:expr;)*) => {
        /// Every column, in the order of the help.
        pub(super) const ALL: &[Column] = &[
            $(Column {
                name: $name,
                align: Align::$align,
                about: $about,
                need: Need::NOTHING$(.and(Need::$need))*,
                shown: Shown::$shown,
                cell: $cell,
            },)*
        ];
    };
}

columns! {
    "PID" Right Always [] "process number" |row| Cell::Number(row.spec.pid.into());
    "INODE" Right Always [] "inode of its pidfd, which is never used again"
        |row| row.spec.inode.map_or(Cell::None, Cell::Inode);
    "PROCESS" Left Always [] "PID:INODE" |row| Cell::Text(row.spec.to_string());
    "COMMAND" Left Always [] "command name" |row| Cell::Text(row.name.clone());
    "POLICY" Left Always [POLICY] "policies in force; inherit: as the host says; inherit-or-advised, unknown: see --help" policy;
    "EXEC" Left Always [POLICY] "whether they survive exec" across_exec;
    "UID" Right Always [FACTS] "real user" |row| from_facts(row, |f| Cell::Number(f.uid.into()));
    "PPID" Right Always [FACTS] "parent" |row| from_facts(row, |f| Cell::Number(f.parent.into()));
    "THREADS" Right Always [FACTS] "threads"
        |row| from_facts(row, |f| Cell::Number(i64::try_from(f.threads).unwrap_or(i64::MAX)));
    "STATE" Left Always [FACTS] "state of its first thread" |row| from_facts(row, |f| Cell::Text(f.state.to_string()));
    "SIZE" Right Always [FACTS] "mapped, populated or not" |row| from_facts(row, |f| or_none(f.size));
    "SWAP" Right Always [FACTS] "on swap" |row| from_facts(row, |f| or_none(f.swap));
    "RSS" Right Always [FACTS] "present in memory" |row| from_facts(row, |f| or_none(f.rss));
    "ANON" Right Always [COVERAGE] "anonymous part of it" |row| from_coverage(row, |c| Cell::Size(c.anonymous));
    "HUGE" Right Always [COVERAGE] "anonymous and shared memory in huge pages" |row| from_coverage(row, |c| Cell::Size(c.huge()));
    "COVERAGE" Right Always [COVERAGE] "that part of the anonymous and shared memory, in per cent"
        |row| from_coverage(row, |c| c.percent().map_or(Cell::None, Cell::Percent));
    "ADVISED" Right WhereAny [WHY] "what was advised HUGEPAGE: its size, in so many mappings"
        |row| row.report.as_ref().map_or(Cell::Unknown, |report| Cell::Mappings(report.advised));
    "SHMEM" Right WhereAny [COVERAGE] "shared memory" |row| from_coverage(row, |c| Cell::Size(c.shmem));
    "ANONHUGE" Right Always [COVERAGE] "anonymous memory in huge pages" |row| from_coverage(row, |c| Cell::Size(c.anon_huge));
    "SHMEMHUGE" Right Always [COVERAGE] "shared memory in huge pages" |row| from_coverage(row, |c| Cell::Size(c.shmem_huge));
    "FILEHUGE" Right Always [COVERAGE] "file memory in huge pages" |row| from_coverage(row, |c| Cell::Size(c.file_huge));
    "HUGETLB" Right Always [COVERAGE] "hugetlb pages" |row| from_coverage(row, |c| Cell::Size(c.hugetlb));
    "WHY" Left Always [POLICY WHY] "what keeps most of the rest small"
        |row| row.report.as_ref().map_or(Cell::Unknown, |report| Cell::Text(report.summary().to_owned()));
}

/// Shown unless -o says otherwise.
pub(super) const DEFAULT: &[&str] = &[
    "PID", "COMMAND", "POLICY", "EXEC", "RSS", "ANON", "SHMEM", "HUGE", "COVERAGE", "ADVISED",
    "WHY",
];

/// Which way rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

impl Order {
    /// What is not known comes last, whichever way.
    pub(super) fn of(self, a: Option<&Cell>, b: Option<&Cell>) -> Ordering {
        let (a, b) = (a.map(Cell::rank), b.map(Cell::rank));
        let last = |rank: &Option<Rank>| matches!(rank, None | Some(Rank::Nothing));
        last(&a).cmp(&last(&b)).then_with(|| match self {
            Order::Ascending => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            Order::Descending => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        })
    }
}

/// What a cell is sorted by.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Rank {
    Nothing,
    Whole(i128),
    Part(f64),
    Text(String),
}

/// The column of `--sort`: numbers fall unless `+` stands before the name, and text rises.
pub(super) fn sort(word: &str) -> Result<(&'static Column, Order), Fail> {
    let (ascending, name) = match word.strip_prefix('+') {
        Some(name) => (true, name),
        None => (false, word.strip_prefix('-').unwrap_or(word)),
    };
    let column = find(name)?;
    let text = column.align == Align::Left && !word.starts_with('-');
    Ok(match ascending || text {
        true => (column, Order::Ascending),
        false => (column, Order::Descending),
    })
}

fn find(name: &str) -> Result<&'static Column, Fail> {
    let found = ALL
        .iter()
        .find(|column| column.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|column| column.name).collect();
        Fail::Usage {
            why: format!("'{name}' is no column"),
            hint: Some(format!("the columns are {}", names.join(","))),
        }
    })
}

/// Whether a list of `-o` names a column.
pub(super) fn is_named(list: Option<&str>, column: &Column) -> bool {
    list.is_some_and(|list| {
        list.trim_start_matches('+')
            .split(',')
            .any(|name| column.name.eq_ignore_ascii_case(name))
    })
}

/// The columns of `-o`: a list, or additions to the default (`+NAME`).
pub(super) fn choose(list: Option<&str>) -> Result<Vec<&'static Column>, Fail> {
    let defaults = DEFAULT.join(",");
    let list = match list {
        None => defaults,
        Some(list) => match list.strip_prefix('+') {
            Some(more) => format!("{defaults},{more}"),
            None => list.to_owned(),
        },
    };
    list.split(',').map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let names = |list| -> Vec<&str> {
            choose(list)
                .unwrap()
                .iter()
                .map(|column| column.name)
                .collect()
        };
        assert_eq!(names(None), DEFAULT);
        assert_eq!(names(Some("pid,Why")), ["PID", "WHY"]);
        assert_eq!(names(Some("+uid")).last(), Some(&"UID"));
        for bad in ["", "pid,", "bogus", "+", ","] {
            assert!(choose(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn sorting() {
        let (column, order) = sort("rss").unwrap();
        assert_eq!((column.name, order), ("RSS", Order::Descending));
        assert_eq!(sort("+RSS").unwrap().1, Order::Ascending);
        assert_eq!(sort("command").unwrap().1, Order::Ascending);
        assert_eq!(sort("-command").unwrap().1, Order::Descending);
        assert!(sort("bogus").is_err() && sort("").is_err());
        let mut cells = [
            Cell::Unknown,
            Cell::Size(Bytes(2)),
            Cell::None,
            Cell::Size(Bytes(10)),
        ];
        for (order, wanted) in [(Order::Descending, [10, 2]), (Order::Ascending, [2, 10])] {
            cells.sort_by(|a, b| order.of(Some(a), Some(b)));
            let wanted = wanted.map(|size| Cell::Size(Bytes(size)));
            assert_eq!(cells[..2], wanted);
        }
    }

    #[test]
    fn cells() {
        let style = Style { bytes: false };
        assert_eq!(Cell::Size(Bytes(1536 << 20)).text(style), "1.5G");
        assert_eq!(Cell::Size(Bytes(12)).text(style), "12");
        assert_eq!(Cell::Size(Bytes(2048)).text(Style { bytes: true }), "2048");
        assert_eq!(Cell::Percent(99.99).text(style), "99.9%");
        assert_eq!(Cell::Words(Vec::new()).text(style), "inherit");
        let advised = |mappings| {
            Cell::Mappings(Advised {
                mappings,
                bytes: Bytes(mappings << 20),
            })
        };
        assert_eq!(advised(3).text(style), "3M in 3");
        assert_eq!(advised(0).text(style), "-");
        assert_eq!(advised(3).json()["bytes"], 3 << 20);
        assert!(advised(1).is_something() && !advised(0).is_something());
        assert_eq!(Cell::Unknown.json(), Value::Null);
        let partly = Cell::Partly("?,mergeable".to_owned());
        assert_eq!(
            (partly.text(style), partly.json()),
            ("?,mergeable".to_owned(), Value::Null)
        );
    }

    #[test]
    fn the_default_columns_exist_and_names_are_unique() {
        for name in DEFAULT {
            assert_eq!(ALL.iter().filter(|column| column.name == *name).count(), 1);
        }
    }
}
