//! Lines and headers.

use mctl::Guarantee;
use mctl_abi::Errno;
use mctl_abi::thp::Host;
use mctl_model::{Caps, Feature, Features, HugeZeroWrite};

use super::lex::{Word, Words, parse_number, parse_size};
use super::{Fact, Line, Names, Scenario, SyntaxError, Wanted, WantedOutcome};
use crate::call::{Addr, Base, Step};

/// Reads a scenario line by line. A REPL gives it lines as they are typed.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    scenario: Scenario,
    line: usize,
}

/// What a name stands for.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Task,
    Region,
    Fd,
    File,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Task => "the name of a task",
            Kind::Region => "the name of a region",
            Kind::Fd => "the name of a descriptor",
            Kind::File => "the name of a file",
        }
    }
}

const ANCHOR: &str = "an anchor of the contract, such as `clear-returns`";
const STEPS: &str = "`case`, `shows`, `kernel`, `model-only`, `not-on`, `differs-where`, `host`, `spawn`, `file`, `reclaim`, `recycle`, `expect` or the name of a task";

impl Parser {
    /// The scenario as far as it was read.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The scenario, to be changed.
    pub fn scenario_mut(&mut self) -> &mut Scenario {
        &mut self.scenario
    }

    /// The scenario.
    #[must_use]
    pub fn into_scenario(self) -> Scenario {
        self.scenario
    }

    /// Reads the next line; `None` for a header, a comment, or nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn line(&mut self, text: &str) -> Result<Option<Line>, SyntaxError> {
        self.line += 1;
        let mut words = Words::split(self.line, text)?;
        if words.is_empty() {
            return Ok(None);
        }
        let first = words.take(STEPS)?;
        let step = match first.text.as_str() {
            "case" => {
                self.scenario.sentence = words.quoted("a sentence in quotes")?;
                words.done()?;
                return Ok(None);
            }
            "shows" => {
                while !words.is_empty() {
                    let anchor = words.take(ANCHOR)?;
                    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                    if !anchor.text.chars().all(plain) {
                        return Err(words.wrong(&anchor, ANCHOR));
                    }
                    self.scenario.shows.push(anchor.text);
                }
                return Ok(None);
            }
            "kernel" => {
                let expected = "`stock`";
                let word = words.take(expected)?;
                if word.text != "stock" {
                    return Err(words.wrong(&word, expected));
                }
                self.scenario.stock = true;
                words.done()?;
                return Ok(None);
            }
            "model-only" => {
                self.scenario.model_only = Some(words.quoted("a reason in quotes")?);
                words.done()?;
                return Ok(None);
            }
            "not-on" => {
                let backend = words.take("`stock` or `native`")?;
                if !matches!(backend.text.as_str(), "stock" | "native") {
                    return Err(words.wrong(&backend, "`stock` or `native`"));
                }
                let reason = words.quoted("a reason in quotes")?;
                self.scenario.not_on.push((backend.text, reason));
                words.done()?;
                return Ok(None);
            }
            "differs-where" => {
                let expected = "a fact: huge-zero-stays-huge or huge-zero-turns-small";
                let word = words.take(expected)?;
                let fact = Fact::ALL.iter().find(|(_, name)| *name == word.text);
                let (fact, _) = fact.ok_or_else(|| words.wrong(&word, expected))?;
                let reason = words.quoted("a reason in quotes")?;
                self.scenario.differs_where.push((*fact, reason));
                words.done()?;
                return Ok(None);
            }
            "host" => {
                self.host(&mut words)?;
                return Ok(None);
            }
            "spawn" => self.spawn(&mut words)?,
            "file" => self.file(&mut words)?,
            "reclaim" => Step::Reclaim(words.number("a number of folios")?),
            "recycle" => {
                let task = self.known(&mut words, Kind::Task)?;
                Step::Recycle(task)
            }
            "expect" => Step::Expect(self.look(&mut words)?),
            name => {
                let Some(task) = place(&self.scenario.names.tasks, name) else {
                    return Err(words.wrong(&first, STEPS));
                };
                Step::Do(task, self.call(&mut words)?)
            }
        };
        let wanted = wanted(&mut words)?;
        let outcome = outcome(&mut words)?;
        words.done()?;
        Ok(Some(Line {
            number: self.line,
            step,
            wanted,
            outcome,
        }))
    }

    fn host(&mut self, words: &mut Words) -> Result<(), SyntaxError> {
        while !words.is_empty() {
            let needs = &mut self.scenario.needs;
            if let Some(word) = words.take_key("thp") {
                needs.thp = Some(host_word(words, &word)?);
            } else if let Some(word) = words.take_key("shmem") {
                needs.shmem = Some(host_word(words, &word)?);
            } else if let Some(word) = words.take_key("swap") {
                needs.swap_pages = Some(size_word(words, &word)? / mctl_model::PAGE);
            } else if let Some(word) = words.take_key("hugetlb") {
                needs.hugetlb_pages = Some(number_word(words, &word)?);
            } else if let Some(word) = words.take_key("max-map-count") {
                needs.max_map_count = Some(number_word(words, &word)?);
            } else if let Some(word) = words.take_key("yama") {
                let number = number_word(words, &word)?;
                needs.yama = Some(u32::try_from(number).unwrap_or(u32::MAX));
            } else if let Some(word) = words.take_key("huge-zero") {
                let expected = "`stays-huge`, `turns-small` or `as-table`";
                needs.huge_zero_write = Some(match word.text.as_str() {
                    "stays-huge" => HugeZeroWrite::Huge,
                    "turns-small" => HugeZeroWrite::Small,
                    "as-table" => HugeZeroWrite::AsTable,
                    _ => return Err(words.wrong(&word, expected)),
                });
            } else if let Some(word) = words.take_key("has") {
                needs.has = needs.has.and(features(words, &word)?);
            } else if let Some(word) = words.take_key("lacks") {
                needs.lacks = needs.lacks.and(features(words, &word)?);
            } else if let Some(word) = words.peek().cloned() {
                let expected = "`thp=`, `shmem=`, `swap=`, `hugetlb=`, `max-map-count=`, `yama=`, `huge-zero=`, `has=` or `lacks=`";
                return Err(words.wrong(&word, expected));
            }
        }
        Ok(())
    }

    fn spawn(&mut self, words: &mut Words) -> Result<Step, SyntaxError> {
        let task = self.name(words, Kind::Task)?;
        let (mut uid, mut caps, mut memlock, mut kernel) = (0, None, 8 << 20, false);
        while let Some(word) = words.peek().cloned() {
            if let Some(value) = words.take_key("uid") {
                uid = u32::try_from(number_word(words, &value)?)
                    .map_err(|_| words.wrong(&value, "a user id"))?;
            } else if let Some(value) = words.take_key("caps") {
                caps = Some(caps_word(words, &value)?);
            } else if let Some(value) = words.take_key("memlock") {
                memlock = size_word(words, &value)?;
            } else if words.take_if("kernel-thread") {
                kernel = true;
            } else {
                let expected = "`uid=`, `caps=`, `memlock=` or `kernel-thread`";
                return Err(words.wrong(&word, expected));
            }
        }
        Ok(Step::Spawn {
            task,
            uid,
            caps: caps.unwrap_or(if uid == 0 { Caps::FULL } else { Caps::NONE }),
            memlock,
            kernel,
        })
    }

    fn file(&mut self, words: &mut Words) -> Result<Step, SyntaxError> {
        let file = self.name(words, Kind::File)?;
        let len = words.size()?;
        let (mut shmem, mut readonly) = (false, false);
        loop {
            if words.take_if("shmem") {
                shmem = true;
            } else if words.take_if("readonly") {
                readonly = true;
            } else {
                return Ok(Step::File {
                    file,
                    len,
                    shmem,
                    readonly,
                });
            }
        }
    }

    fn list(&mut self, kind: Kind) -> &mut Vec<String> {
        let names: &mut Names = &mut self.scenario.names;
        match kind {
            Kind::Task => &mut names.tasks,
            Kind::Region => &mut names.regions,
            Kind::Fd => &mut names.fds,
            Kind::File => &mut names.files,
        }
    }

    /// A name, old or new.
    pub(super) fn name(&mut self, words: &mut Words, kind: Kind) -> Result<u16, SyntaxError> {
        let word = words.take(kind.word())?;
        let reserved = [
            "heap", "stack", "self", "expect", "spawn", "file", "reclaim", "recycle",
        ];
        let starts = word.text.chars().next().is_some_and(char::is_alphabetic);
        let plain = word
            .text
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if !starts || !plain || reserved.contains(&word.text.as_str()) {
            return Err(words.wrong(&word, kind.word()));
        }
        let list = self.list(kind);
        if let Some(at) = place(list, &word.text) {
            return Ok(at);
        }
        list.push(word.text.clone());
        u16::try_from(list.len() - 1).map_err(|_| words.wrong(&word, "fewer names"))
    }

    /// A name that was given before.
    pub(super) fn known(&mut self, words: &mut Words, kind: Kind) -> Result<u16, SyntaxError> {
        let word = words.take(kind.word())?;
        place(self.list(kind), &word.text).ok_or_else(|| words.wrong(&word, kind.word()))
    }

    /// An address: `a`, `a+4K`, `heap+1M`, `0x1000`.
    pub(super) fn addr(&mut self, words: &mut Words) -> Result<Addr, SyntaxError> {
        let word = words.take("an address (a, a+4K, heap+1M, 0x1000)")?;
        self.addr_word(words, &word)
    }

    pub(super) fn addr_word(&mut self, words: &Words, word: &Word) -> Result<Addr, SyntaxError> {
        let expected = "an address (a, a+4K, heap+1M, 0x1000)";
        if let Some(number) = parse_number(&word.text) {
            return Ok(Addr {
                base: Base::Zero,
                offset: number,
            });
        }
        let (name, offset) = match word.text.split_once('+') {
            Some((name, offset)) => (
                name,
                parse_size(offset).ok_or_else(|| words.wrong(word, expected))?,
            ),
            None => (word.text.as_str(), 0),
        };
        let base = if name == "heap" {
            Base::Heap
        } else if name == "stack" {
            Base::Stack
        } else {
            let at = place(self.list(Kind::Region), name);
            Base::Region(at.ok_or_else(|| words.wrong(word, expected))?)
        };
        Ok(Addr { base, offset })
    }
}

pub(super) fn place(list: &[String], name: &str) -> Option<u16> {
    let at = list.iter().position(|known| known == name)?;
    u16::try_from(at).ok()
}

pub(super) fn number_word(words: &Words, word: &Word) -> Result<u64, SyntaxError> {
    parse_number(&word.text).ok_or_else(|| words.wrong(word, "a number"))
}

pub(super) fn size_word(words: &Words, word: &Word) -> Result<u64, SyntaxError> {
    parse_size(&word.text).ok_or_else(|| words.wrong(word, "a size (12K, 4M, max)"))
}

/// Features of a kernel, apart by commas.
fn features(words: &Words, word: &Word) -> Result<Features, SyntaxError> {
    let known = || {
        let all = Feature::ALL.map(Feature::word);
        format!("features of a kernel: {}", all.join(","))
    };
    word.text
        .split(',')
        .map(|name| Feature::from_word(name).ok_or_else(|| words.wrong(word, &known())))
        .collect()
}

fn host_word(words: &Words, word: &Word) -> Result<Host, SyntaxError> {
    match word.text.as_str() {
        "always" => Ok(Host::Always),
        "madvise" => Ok(Host::Madvise),
        "never" => Ok(Host::Never),
        _ => Err(words.wrong(word, "`always`, `madvise` or `never`")),
    }
}

pub(super) fn caps_word(words: &Words, word: &Word) -> Result<Caps, SyntaxError> {
    match word.text.as_str() {
        "none" => return Ok(Caps::NONE),
        "full" => return Ok(Caps::FULL),
        _ => {}
    }
    let mut caps = Caps::NONE;
    for name in word.text.split(',') {
        let expected = "`none`, `full`, or capabilities such as `sys_admin,ipc_lock`";
        caps = caps.with(Caps::from_name(name).ok_or_else(|| words.wrong(word, expected))?);
    }
    Ok(caps)
}

/// `now=enforced exec=exceeds exact=no`, after what follows the arrow.
fn outcome(words: &mut Words) -> Result<WantedOutcome, SyntaxError> {
    let mut wanted = WantedOutcome::default();
    'words: while !words.is_empty() {
        for (part, slot) in WantedOutcome::PARTS.iter().zip(&mut wanted.guarantees) {
            if let Some(value) = words.take_key(part) {
                let known = GUARANTEES.iter().find(|known| known.word() == value.text);
                let expected = "enforced, supervised, eventual, not-covered or exceeds";
                *slot = Some(*known.ok_or_else(|| words.wrong(&value, expected))?);
                continue 'words;
            }
        }
        if let Some(value) = words.take_key("exact") {
            wanted.exact = match value.text.as_str() {
                "yes" => Some(true),
                "no" => Some(false),
                _ => return Err(words.wrong(&value, "`yes` or `no`")),
            };
        } else {
            break;
        }
    }
    Ok(wanted)
}

const GUARANTEES: [Guarantee; 5] = [
    Guarantee::Enforced,
    Guarantee::Supervised,
    Guarantee::Eventual,
    Guarantee::NotCovered,
    Guarantee::Exceeds,
];

/// The guarantee with this word.
pub(crate) fn guarantee(word: &str) -> Option<Guarantee> {
    GUARANTEES.into_iter().find(|known| known.word() == word)
}

/// What follows the arrow.
fn wanted(words: &mut Words) -> Result<Wanted, SyntaxError> {
    if !words.take_if("->") {
        return Ok(Wanted::Ok);
    }
    let expected = "`ok`, `any`, an errno such as EINVAL, a number, or a range such as 4K..1M";
    let word = words.take(expected)?;
    match word.text.as_str() {
        "ok" => return Ok(Wanted::Ok),
        "any" => return Ok(Wanted::Any),
        "segv" => return Ok(Wanted::Fails(Errno::EFAULT)),
        "bus" => return Ok(Wanted::Fails(Errno::ENXIO)),
        _ => {}
    }
    if let Some((low, high)) = word.text.split_once("..") {
        let end = |text| parse_size(text).and_then(|size| i64::try_from(size).ok());
        return match (end(low), end(high)) {
            (Some(low), Some(high)) => Ok(Wanted::Between(low, high)),
            _ => Err(words.wrong(&word, expected)),
        };
    }
    if let Ok(number) = word.text.parse::<i64>() {
        return Ok(Wanted::Value(number));
    }
    if let Some(size) = parse_size(&word.text).and_then(|size| i64::try_from(size).ok()) {
        return Ok(Wanted::Value(size));
    }
    (1..=133)
        .map(Errno::from_raw)
        .find(|errno| errno.name() == Some(word.text.as_str()))
        .map(Wanted::Fails)
        .ok_or_else(|| words.wrong(&word, expected))
}
