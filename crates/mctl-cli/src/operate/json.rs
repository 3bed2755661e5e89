//! The form that all of them have in JSON.

use serde::Serialize;

use super::{Row, Sum, Tell};
use crate::report::JsonError;

/// What became of all. `head` says what was asked for.
#[derive(Serialize)]
pub(crate) struct Json<'a, H, P> {
    #[serde(flatten)]
    head: H,
    processes: Vec<Process<'a, P>>,
    ended: u64,
    not_begun: u64,
    interrupted: bool,
}

/// What became of one process.
#[derive(Serialize)]
pub(crate) struct Process<'a, P> {
    pid: i32,
    inode: Option<u64>,
    name: Option<&'a str>,
    #[serde(flatten)]
    done: Option<P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JsonError>,
}

impl<'a, P> Process<'a, P> {
    pub(crate) fn of<O: Tell>(
        operation: &O,
        row: &'a Row<O::Done>,
        done: impl FnOnce(&'a O::Done) -> P,
    ) -> Process<'a, P> {
        let (done, error) = match &row.result {
            Ok(result) => (Some(done(result)), None),
            Err(error) => {
                let hint = operation.hint(error);
                (None, Some(JsonError::with_hint(error, hint)))
            }
        };
        Process {
            pid: row.spec.pid,
            inode: row.spec.inode,
            name: row.name.as_deref(),
            done,
            error,
        }
    }
}

impl<'a, H, P> Json<'a, H, P> {
    pub(crate) fn of<O: Tell>(
        operation: &O,
        head: H,
        sum: &'a Sum<O::Done>,
        done: impl Fn(&'a O::Done) -> P,
    ) -> Json<'a, H, P> {
        let rows = sum.rows.iter();
        Json {
            head,
            processes: rows.map(|row| Process::of(operation, row, &done)).collect(),
            ended: sum.ended,
            not_begun: sum.not_begun,
            interrupted: sum.interrupted,
        }
    }
}
