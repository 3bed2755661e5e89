//! Files and directory trees, in parallel, whatever they hold.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use aho_corasick::packed::Searcher;
use ignore::{WalkBuilder, WalkState};

use super::{Parsed, csig, debugfs, elf, kdoc, macros};
use crate::diag::{Diagnostic, Severity, Source};
use crate::ir::{Corpus, Signature, Span};

/// Files larger than this are not source.
const MOST_BYTES: u64 = 64 << 20;

/// What was read from files.
#[derive(Debug, Default)]
pub struct Found {
    /// Specifications and messages.
    pub parsed: Parsed,
    /// `SYSCALL_DEFINEn` of the tree, where asked for.
    pub syscalls: Vec<Signature>,
    /// Files looked at.
    pub files: usize,
}

/// Strings of which a file with specifications has one.
fn finder(with_syscalls: bool) -> Option<&'static Searcher> {
    static PLAIN: OnceLock<Option<Searcher>> = OnceLock::new();
    static ALL: OnceLock<Option<Searcher>> = OnceLock::new();
    let build = |extra: &[&str]| {
        Searcher::new(
            macros::MARKERS
                .iter()
                .chain(&macros::RAW)
                .chain(&kdoc::MARKERS)
                .chain(extra),
        )
    };
    if with_syscalls {
        ALL.get_or_init(|| build(&["SYSCALL_DEFINE"])).as_ref()
    } else {
        PLAIN.get_or_init(|| build(&[])).as_ref()
    }
}

/// Reads a text in whatever dialects it has.
#[must_use]
pub fn read_text(name: &str, text: &str) -> Parsed {
    let start = text.trim_start();
    if is_json(start) {
        return read_json(name, text);
    }
    if debugfs::is_text(start) {
        return debugfs::parse_text(name, text);
    }
    let source = Source::new(name, text);
    let mut parsed = macros::parse(&source);
    parsed.append(kdoc::parse(&source));
    parsed
}

/// An object or a list of objects; a patch may start with `[RFC …]`.
fn is_json(text: &str) -> bool {
    let after = |open| text.strip_prefix(open).map(str::trim_start);
    after('{').is_some_and(|rest| rest.starts_with(['"', '}']))
        || after('[').is_some_and(|rest| rest.starts_with(['{', ']']))
}

/// Our own corpus, one specification, or what the kernel's debugfs gives.
fn read_json(name: &str, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let own = serde_json::from_str::<Corpus>(text).map(|c| c.specs);
    match own {
        Ok(specs) => parsed.specs = specs,
        Err(error) => {
            let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
            match value {
                Some(value) if debugfs::is_json(&value) => {
                    return debugfs::parse_json(name, &value);
                }
                Some(value) if value.get("name").is_some() && value.get("kind").is_some() => {
                    match serde_json::from_value(value) {
                        Ok(spec) => parsed.specs.push(spec),
                        Err(error) => parsed.diagnostics.push(json_error(name, text, &error)),
                    }
                }
                _ => parsed.diagnostics.push(json_error(name, text, &error)),
            }
        }
    }
    parsed
}

fn json_error(name: &str, text: &str, error: &serde_json::Error) -> Diagnostic {
    let source = Source::new(name, text);
    let to_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let span = Span {
        file: source.name.clone(),
        line: to_u32(error.line()),
        column: to_u32(error.column().max(1)),
        length: 1,
    };
    source
        .diagnostic(Severity::Error, "json", error.to_string(), span)
        .expected("expected a kapi corpus or a debugfs specification")
}

fn io_error(path: &Path, error: &std::io::Error) -> Diagnostic {
    let span = Span {
        file: path.display().to_string().into(),
        ..Span::default()
    };
    Diagnostic::new(Severity::Error, "io", error.to_string(), span)
}

/// Reads files and trees. In trees only C sources, headers and sidecar files are looked at.
#[must_use]
pub fn read_paths(paths: &[PathBuf], with_syscalls: bool) -> Found {
    let mut read = Found::default();
    for path in paths {
        if path.is_dir() {
            read_tree(path, with_syscalls, &mut read);
        } else {
            read.files += 1;
            let mut bytes = Vec::new();
            match File::open(path).and_then(|file| file.take(4 << 30).read_to_end(&mut bytes)) {
                Ok(_) => read_bytes(
                    &path.display().to_string(),
                    &bytes,
                    with_syscalls,
                    &mut read,
                ),
                Err(error) => read.parsed.diagnostics.push(io_error(path, &error)),
            }
        }
    }
    // Threads finish in any order; the result does not show it.
    read.parsed.specs.sort_by(|a, b| {
        (a.call_name(), &a.span.file, a.span.line).cmp(&(b.call_name(), &b.span.file, b.span.line))
    });
    read.parsed.diagnostics.sort_by(|a, b| {
        (&a.span.file, a.span.line, a.span.column).cmp(&(&b.span.file, b.span.line, b.span.column))
    });
    read
}

/// One file's bytes, already read.
pub fn read_bytes(name: &str, bytes: &[u8], with_syscalls: bool, read: &mut Found) {
    if bytes.starts_with(b"\x7fELF") {
        read.parsed.append(elf::parse(name, bytes));
        return;
    }
    if let Some(what) = not_text(bytes) {
        let span = Span {
            file: name.into(),
            ..Span::default()
        };
        read.parsed.diagnostics.push(
            Diagnostic::new(Severity::Error, "encoding", what, span)
                .expected("expected UTF-8 with lines that end in a line feed"),
        );
        return;
    }
    let text = String::from_utf8_lossy(bytes);
    read.parsed.append(read_text(name, &text));
    if with_syscalls {
        read.syscalls
            .append(&mut csig::syscalls(&Source::new(name, &text)));
    }
}

/// Why bytes are no text that can be read here.
fn not_text(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Some("the file is UTF-16");
    }
    let start = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
    let zeros = memchr::memchr_iter(0, start).count();
    if zeros > start.len() / 4 && start.len() > 16 {
        return Some("the file has a zero in every other byte, as UTF-16 has");
    }
    (memchr::memchr(b'\r', bytes).is_some() && memchr::memchr(b'\n', bytes).is_none())
        .then_some("the lines of the file end in carriage returns alone")
}

/// Files that a tree may hold specifications in, but that are read only when they are named.
fn passed_over(path: &Path) -> bool {
    matches!(
        path.extension().and_then(|e| e.to_str()),
        Some("json" | "mbox" | "patch" | "diff" | "eml")
    )
}

fn wanted(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    matches!(
        path.extension().and_then(|e| e.to_str()),
        Some("c" | "h" | "kapi")
    ) || name.ends_with(".kapi.json")
}

fn read_tree(root: &Path, with_syscalls: bool, read: &mut Found) {
    let files_before = read.files;
    let all = Mutex::new(std::mem::take(read));
    let passed = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let walk = WalkBuilder::new(root)
        .standard_filters(false)
        .threads(threads)
        .build_parallel();
    walk.run(|| {
        let mut mine = Batch {
            all: &all,
            passed: &passed,
            read: Found::default(),
            passed_over: 0,
            buffer: Vec::new(),
        };
        Box::new(move |entry| {
            match entry {
                Ok(entry)
                    if entry.file_type().is_some_and(|t| t.is_file()) && wanted(entry.path()) =>
                {
                    mine.file(entry.path(), with_syscalls)
                }
                Ok(entry) => {
                    mine.passed_over += usize::from(passed_over(entry.path()));
                }
                Err(error) => {
                    let span = Span {
                        file: root.display().to_string().into(),
                        ..Span::default()
                    };
                    mine.read.parsed.diagnostics.push(Diagnostic::new(
                        Severity::Error,
                        "io",
                        error.to_string(),
                        span,
                    ));
                }
            }
            WalkState::Continue
        })
    });
    *read = all
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let passed = passed.into_inner();
    if read.files == files_before && passed > 0 {
        let span = Span {
            file: root.display().to_string().into(),
            ..Span::default()
        };
        read.parsed.diagnostics.push(
            Diagnostic::new(
                Severity::Error,
                "nothing-read",
                format!("none of its {passed} files of JSON, mail or patches was read"),
                span,
            )
            .expected("name the files; of a folder .c, .h, .kapi and .kapi.json are read"),
        );
    }
}

/// What one thread found; handed over when it ends.
struct Batch<'a> {
    all: &'a Mutex<Found>,
    passed: &'a AtomicUsize,
    read: Found,
    passed_over: usize,
    buffer: Vec<u8>,
}

impl Batch<'_> {
    fn file(&mut self, path: &Path, with_syscalls: bool) {
        self.read.files += 1;
        self.buffer.clear();
        let opened =
            File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut self.buffer));
        if let Err(error) = opened {
            self.read.parsed.diagnostics.push(io_error(path, &error));
            return;
        }
        let json = path.extension().is_some_and(|e| e == "json");
        let hit = json || finder(with_syscalls).is_none_or(|f| f.find(&self.buffer).is_some());
        if hit {
            let bytes = std::mem::take(&mut self.buffer);
            read_bytes(
                &path.display().to_string(),
                &bytes,
                with_syscalls,
                &mut self.read,
            );
            self.buffer = bytes;
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut all = self
            .all
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.passed.fetch_add(self.passed_over, Ordering::Relaxed);
        all.files += self.read.files;
        all.parsed.append(std::mem::take(&mut self.read.parsed));
        all.syscalls.append(&mut self.read.syscalls);
    }
}
