//! The saved states: read in bounded time and memory, whatever the file is.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use mctl::Saved;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::fail::{Fail, plain};
use crate::output::JSON_VERSION;
use crate::report;

/// The most that is read: some 40,000 processes with every column.
const MOST: u64 = 16 << 20;
/// So much of a longer text is shown of its beginning, and of its end.
const SHOWN: usize = 120;
/// A pipe that says nothing for so long is not waited for any longer.
const SILENCE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// What stands of one process in the file.
#[derive(Debug)]
pub(super) enum Row {
    State(Saved),
    /// Its state could not be read then.
    NotSaved {
        pid: i32,
    },
}

/// Reads and understands the whole file. `-` is standard input.
pub(super) fn read(name: &OsStr) -> Result<Vec<Row>, Fail> {
    let text = if name == "-" {
        bounded(std::io::stdin().lock(), name)?
    } else {
        from_file(name)?
    };
    let document: Document = serde_json::from_slice(&text).map_err(|error| {
        let kind = if error.is_data() {
            "not a state saved by mctl"
        } else {
            "not JSON"
        };
        no_state(name, &format!("{kind}: {}", in_short(&error.to_string())))
    })?;
    match twice(&document.0) {
        Some(pid) => Err(no_state(name, &format!("process {pid} stands in it twice"))),
        None => Ok(document.0),
    }
}

fn no_state(name: &OsStr, why: &str) -> Fail {
    Fail::Usage {
        why: format!("{}: {why}", report::shown(name)),
        hint: Some("'mctl get --exact --json PID', without --maps, writes such a file".to_owned()),
    }
}

/// The beginning and the end of what was understood of the file: the parser shows values that it did not expect,
/// whatever their length.
fn in_short(why: &str) -> String {
    let count = why.chars().count();
    if count <= 2 * SHOWN {
        return why.to_owned();
    }
    let first: String = why.chars().take(SHOWN).collect();
    let last: String = why.chars().skip(count - SHOWN).collect();
    format!("{first}…{last}")
}

/// A process with two states: which of them is meant? And one that stands there ten thousand times is not to be
/// stopped as often.
fn twice(rows: &[Row]) -> Option<i32> {
    let mut seen = HashSet::new();
    rows.iter().find_map(|row| match row {
        Row::State(saved) => {
            let which = (saved.pid, saved.inode, saved.start_time);
            (!seen.insert(which)).then_some(saved.pid)
        }
        Row::NotSaved { .. } => None,
    })
}

fn failed(name: &OsStr, why: &str) -> Fail {
    Fail::failed(format!("{}: {why}", report::shown(name)))
}

fn from_file(name: &OsStr) -> Result<Vec<u8>, Fail> {
    let io = |errno: rustix::io::Errno| failed(name, &plain(&errno.into()));
    // Opening a FIFO that nobody writes to would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(name, flags, Mode::empty()).map_err(io)?);
    let stat = rustix::fs::fstat(&file).map_err(io)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => bounded(file, name),
        FileType::Fifo => bounded(Patient(file), name),
        FileType::Directory => Err(io(rustix::io::Errno::ISDIR)),
        _ => Err(failed(
            name,
            "neither a file nor a pipe; - is standard input",
        )),
    }
}

fn bounded(from: impl Read, name: &OsStr) -> Result<Vec<u8>, Fail> {
    let mut text = Vec::new();
    from.take(MOST + 1)
        .read_to_end(&mut text)
        .map_err(|error| failed(name, &plain(&error)))?;
    if text.len() as u64 > MOST {
        return Err(failed(
            name,
            "larger than 16 MiB: no state saved by mctl (EFBIG)",
        ));
    }
    Ok(text)
}

/// A pipe that does not block, waited for while its writer says something.
struct Patient(File);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer) {
            // One that nobody has opened for writing is at its end.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        let mut ready = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        if poll(&mut ready, Some(&SILENCE))? == 0 {
            return Err(std::io::Error::other(
                "a pipe that says nothing for 30 s (ETIMEDOUT)",
            ));
        }
        self.0.read(buffer)
    }
}

/// `{"processes": […]}`, or the list alone. Read in one go: nothing is kept of what is not understood.
struct Document(Vec<Row>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Document, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = Document;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of processes that each have pid, start_time, name, thp_disable and mergeable")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Document, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = list.next_element::<Row>()? {
                    rows.push(row);
                }
                Ok(Document(rows))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut rows = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "processes" => rows = Some(map.next_value::<Vec<Row>>()?),
                        "version" => known(map.next_value::<u64>()?)?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let missing = || serde::de::Error::missing_field("processes");
                rows.map(Document).ok_or_else(missing)
            }
        }
        from.deserialize_any(Rows)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Row, D::Error> {
        /// Every field of [`Saved`]; what is more is passed over.
        #[derive(Deserialize)]
        #[serde(expecting = "a process with pid, start_time, name, thp_disable and mergeable")]
        struct Fields {
            pid: i32,
            #[serde(default)]
            error: Option<IgnoredAny>,
            #[serde(default)]
            inode: Option<u64>,
            #[serde(default)]
            start_time: Option<u64>,
            #[serde(default)]
            name: Option<String>,
            // `null` is a state, and not the same as nothing.
            #[serde(default, deserialize_with = "there")]
            thp_disable: Option<Option<i64>>,
            #[serde(default, deserialize_with = "there")]
            mergeable: Option<Option<bool>>,
            #[serde(default)]
            record: Option<u32>,
            #[serde(default)]
            thp: Option<String>,
        }
        let fields = Fields::deserialize(from)?;
        let missing = |name| <D::Error as serde::de::Error>::missing_field(name);
        let state = (
            fields.start_time,
            fields.name,
            fields.thp_disable,
            fields.mergeable,
        );
        match (state, fields.error) {
            ((Some(start_time), Some(name), Some(thp_disable), Some(mergeable)), _) => {
                Ok(Row::State(Saved {
                    pid: fields.pid,
                    inode: fields.inode,
                    start_time,
                    name: name.chars().take(SHOWN).collect(),
                    thp_disable,
                    mergeable,
                    record: fields.record,
                    thp: fields.thp,
                }))
            }
            (_, Some(_)) => Ok(Row::NotSaved { pid: fields.pid }),
            ((None, ..), None) => Err(missing("start_time")),
            ((_, None, ..), None) => Err(missing("name")),
            ((_, _, None, _), None) => Err(missing("thp_disable")),
            (_, None) => Err(missing("mergeable")),
        }
    }
}

/// A file of a later version may mean something else by the same words.
fn known<E: serde::de::Error>(version: u64) -> Result<(), E> {
    if version > u64::from(JSON_VERSION) {
        return Err(E::custom(format_args!(
            "it has version {version}, and this mctl knows versions up to {JSON_VERSION}"
        )));
    }
    Ok(())
}

fn there<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<Row>, serde_json::Error> {
        serde_json::from_str::<Document>(text).map(|document| document.0)
    }

    const STATE: &str = r#"{"pid":7,"inode":null,"start_time":5,"name":"x","thp_disable":null,"mergeable":false,"rss":1}"#;

    #[test]
    fn what_get_writes_and_a_bare_list() {
        for text in [
            format!("[{STATE}]"),
            format!(r#"{{"other":[{{}}],"processes":[{STATE}]}}"#),
            format!(r#"{{"version":1,"processes":[{STATE}]}}"#),
        ] {
            let rows = rows(&text).unwrap();
            let [Row::State(saved)] = rows.as_slice() else {
                panic!("{rows:?}");
            };
            assert_eq!(
                (saved.pid, saved.thp_disable, saved.mergeable),
                (7, None, Some(false))
            );
        }
        let failed = rows(r#"[{"pid":7,"error":{"errno":"ESRCH"}}]"#).unwrap();
        assert!(matches!(failed.as_slice(), [Row::NotSaved { pid: 7 }]));
    }

    #[test]
    fn a_long_reason_is_cut_and_keeps_its_place() {
        let text = format!(r#"[{{"pid":"{}"}}]"#, "ä".repeat(1_000_000));
        let why = in_short(&rows(&text).unwrap_err().to_string());
        assert!(why.chars().count() < 300, "{}", why.len());
        assert!(
            why.starts_with("invalid type: string") && why.contains("at line 1 column"),
            "{why}"
        );
        assert_eq!(in_short("short"), "short");
    }

    #[test]
    fn a_process_has_one_state() {
        let list = |rows: &[&str]| format!("[{}]", rows.join(","));
        let other = STATE.replace("\"start_time\":5", "\"start_time\":6");
        assert_eq!(twice(&rows(&list(&[STATE, &other])).unwrap()), None);
        assert_eq!(
            twice(&rows(&list(&[STATE, &other, STATE])).unwrap()),
            Some(7)
        );
        let failed = r#"{"pid":7,"error":{}}"#;
        assert_eq!(twice(&rows(&list(&[failed, failed])).unwrap()), None);
    }

    #[test]
    fn what_is_missing_is_named_with_its_place() {
        for (text, why) in [
            ("{}", "processes"),
            ("[{}]", "pid"),
            (r#"[{"pid":7}]"#, "start_time"),
            (
                r#"[{"pid":7,"start_time":1,"name":"x","mergeable":null}]"#,
                "thp_disable",
            ),
            (r#"[{"pid":"7"}]"#, "string"),
            ("7", "list of processes"),
            (r#"{"version":2,"processes":[]}"#, "version 2"),
            (r#"{"version":"1","processes":[]}"#, "string"),
        ] {
            let error = rows(text).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}
