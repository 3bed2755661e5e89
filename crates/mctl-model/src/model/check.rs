//! Every invariant of the machine.

use std::collections::BTreeMap;

use super::signal::TaskState;
use super::{Broken, Model};
use crate::PAGE;
use crate::ids::MmId;
use crate::vma::{Backing, FileId};

impl Model {
    /// Checks that mappings are sorted and disjoint, that counters equal what they count, that
    /// policy records are possible ones, and that users, PIDs and folio mappings add up.
    ///
    /// # Errors
    /// The first invariant that is broken.
    pub fn check(&self) -> Result<(), Broken> {
        self.try_check().map_err(Broken)
    }

    fn try_check(&self) -> Result<(), String> {
        self.cache.check()?;
        let mut mapped: BTreeMap<(FileId, u64), u32> = BTreeMap::new();
        let mut families: BTreeMap<u32, u32> = BTreeMap::new();
        for (id, mm) in &self.mms {
            mm.check(&self.knobs).map_err(|e| format!("{id}: {e}"))?;
            *families.entry(mm.family).or_default() += 1;
            self.count_mapped(*id, &mut mapped)?;
        }
        if families != self.families {
            return Err("the family counts are stale".to_owned());
        }
        for (key, count) in self.cache.mapped() {
            let seen = mapped.get(&key).copied().unwrap_or(0);
            if seen != count {
                return Err(format!("folio {key:?} counts {count} mappings of {seen}"));
            }
        }
        self.check_tasks()
    }

    fn count_mapped(
        &self,
        id: MmId,
        mapped: &mut BTreeMap<(FileId, u64), u32>,
    ) -> Result<(), String> {
        let Some(mm) = self.mms.get(&id) else {
            return Ok(());
        };
        for vma in mm.vmas() {
            for run in mm.file_runs(vma.start, vma.end) {
                let Backing::File(file) = vma.backing else {
                    return Err(format!(
                        "{id}: a file page at {:#x} without a file",
                        run.start
                    ));
                };
                for at in 0..(run.end - run.start) / PAGE {
                    *mapped.entry((file, run.frame - 1 + at)).or_default() += 1;
                    if mm.anon.at(run.start + at * PAGE).is_some() {
                        return Err(format!("{id}: two pages at {:#x}", run.start + at * PAGE));
                    }
                }
            }
        }
        Ok(())
    }

    fn check_tasks(&self) -> Result<(), String> {
        let mut users: BTreeMap<MmId, u32> = BTreeMap::new();
        for (id, task) in &self.tasks {
            if let Some(mm) = task.mm {
                *users.entry(mm).or_default() += 1;
                if task.state == TaskState::Zombie {
                    return Err(format!("{id} is dead and has an address space"));
                }
            }
            if self.pids.get(task.pid) != Some(*id) {
                return Err(format!("{id} has a PID that is not its own"));
            }
            if !self.tasks.contains_key(&task.leader) {
                return Err(format!("{id} has no first thread"));
            }
        }
        if self.pids.iter().count() != self.tasks.len() {
            return Err("a PID is used by nobody".to_owned());
        }
        for (id, mm) in &self.mms {
            if users.get(id).copied().unwrap_or(0) != mm.users {
                return Err(format!("{id} counts {} users", mm.users));
            }
        }
        Ok(())
    }
}
