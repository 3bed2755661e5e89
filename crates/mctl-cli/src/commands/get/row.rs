//! What is read of a process for its line: no more than the columns need.

use mctl::coverage::Coverage;
use mctl::process::ProcessFacts;
use mctl::why::{Report, Setting};
use mctl::{Errno, Error, Known, Look, ProcessSpec, Reading, Saved, Target, ThpHost, read_policy};

use super::columns::Column;

/// Sources, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need(u8);

impl Need {
    pub(super) const NOTHING: Need = Need(0);
    /// The policy: status, ksm_stat, and for some states smaps up to a mapping that tells.
    pub(super) const POLICY: Need = Need(1);
    /// status and stat.
    pub(super) const FACTS: Need = Need(2);
    /// smaps_rollup.
    pub(super) const COVERAGE: Need = Need(4);
    /// smaps; it has the coverage too.
    pub(super) const WHY: Need = Need(8);

    pub(super) const fn and(self, other: Need) -> Need {
        Need(self.0 | other.0)
    }

    const fn has(self, other: Need) -> bool {
        self.0 & other.0 != 0
    }
}

/// What was read of one process.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) spec: ProcessSpec,
    pub(super) name: String,
    pub(super) reading: Option<Reading>,
    pub(super) saved: Option<Saved>,
    pub(super) facts: Option<ProcessFacts>,
    pub(super) coverage: Option<Coverage>,
    pub(super) report: Option<Report>,
    /// What could not be read, and why.
    pub(super) missing: Vec<(&'static str, Error)>,
}

/// Reads processes.
pub(super) struct Reader {
    need: Need,
    look: Look,
    save: bool,
    host: Option<ThpHost>,
    host_read: bool,
}

impl Reader {
    pub(super) fn new(columns: &[&Column], look: Look, save: bool) -> Reader {
        let need = columns
            .iter()
            .fold(Need::NOTHING, |need, column| need.and(column.need));
        Reader {
            need: if save { need.and(Need::POLICY) } else { need },
            look,
            save,
            host: None,
            host_read: false,
        }
    }

    /// Reads one process. What cannot be read of one that lives is noted in the row.
    pub(super) fn read(&mut self, target: &Target) -> Result<Row, Error> {
        let mut row = Row {
            spec: target.spec(),
            name: target.name(),
            reading: None,
            saved: None,
            facts: None,
            coverage: None,
            report: None,
            missing: Vec::new(),
        };
        if self.need.has(Need::POLICY) {
            row.reading = policy(target, self.look, &mut row.missing)?;
            if self.save
                && let Some(reading) = &row.reading
            {
                row.saved = Some(Saved::from_reading(target, reading)?);
            }
        }
        if self.need.has(Need::FACTS) {
            row.facts = Some(ProcessFacts::read(target)?);
        }
        if self.need.has(Need::WHY) {
            let thp = row.reading.as_ref().map_or(Known::Unknown, Reading::thp);
            let setting = Setting::new(self.host()?, thp);
            row.report = keep(setting.report(target), "memory", &mut row.missing)?;
            row.coverage = row.report.as_ref().map(|report| report.coverage);
        } else if self.need.has(Need::COVERAGE) {
            row.coverage = keep(Coverage::total(target), "memory", &mut row.missing)?;
        }
        if !target.is_alive() {
            return Err(Error::NoProcess { pid: target.pid() });
        }
        Ok(row)
    }

    fn host(&mut self) -> Result<Option<&ThpHost>, Error> {
        if !self.host_read {
            self.host = ThpHost::read()?;
            self.host_read = true;
        }
        Ok(self.host.as_ref())
    }
}

/// Says that the process was not asked, and what is shown instead.
pub(super) fn from_proc(pid: i32) {
    crate::report::note(&format!(
        "process {pid}: it was not asked; what is shown of its policy is what /proc tells"
    ));
}

/// The policy; where the process cannot be stopped for it, what /proc says.
pub(super) fn policy(
    target: &Target,
    look: Look,
    missing: &mut Vec<(&'static str, Error)>,
) -> Result<Option<Reading>, Error> {
    match read_policy(target, look) {
        Ok(reading) => Ok(Some(reading)),
        Err(error) if error.errno() == Errno::ESRCH => Err(error),
        Err(error) => {
            missing.push(("policy", error));
            Ok(read_policy(target, Look::Proc).ok())
        }
    }
}

/// A failure of a process that lives is kept for a message; one that ended is an error.
fn keep<T>(
    result: Result<T, Error>,
    what: &'static str,
    missing: &mut Vec<(&'static str, Error)>,
) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.errno() == Errno::ESRCH => Err(error),
        Err(error) => {
            missing.push((what, error));
            Ok(None)
        }
    }
}
