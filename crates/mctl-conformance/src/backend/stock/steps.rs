//! The steps of a history on real processes.

use mctl_abi::thp::Host;
use mctl_model::Caps;

use super::hand::order;
use super::identity::{identity, memlock};
use super::proc;
use super::{StockBackend, Task, host, nr};
use crate::backend::engine::{Short, Told};
use crate::backend::{Answer, Backend, NewFile, Places, Start, Trouble};
use crate::call::{Call, How, Life, Look};
use crate::lang::{Fact, Names, Needs, Setup};
use crate::view::{Scope, View};

impl Backend for StockBackend {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn fact(&self, fact: Fact) -> bool {
        fact.on(&self.host)
    }

    fn thp_knobs(&self) -> (Host, Option<Host>) {
        (self.host.thp, self.host.shmem)
    }

    fn begin(&mut self, needs: &Needs, names: &Names) -> Result<(), Trouble> {
        self.clear()?;
        self.files.clear();
        self.reason = None;
        self.shortfall = None;
        self.told = None;
        self.engine.begin(self.best_effort);
        if self.arranges.is_some() {
            host::arrange(&self.host, &needs.over(&self.host))?;
            self.host = Setup {
                huge_zero_write: self.host.huge_zero_write,
                features: self.host.features,
                lacks: self.host.lacks,
                ..host::host()?
            };
        }
        if let Some(lacks) = needs.missing_on(&self.host) {
            return Err(Trouble::NotPossible(lacks));
        }
        self.places.reset(names.regions.len(), &self.image);
        Ok(())
    }

    fn spawn(&mut self, task: u16, start: &Start) -> Result<(), Trouble> {
        if start.kernel {
            let why = "a test cannot start a kernel thread";
            return Err(Trouble::NotPossible(why.to_owned()));
        }
        let name = self.fresh_name();
        let recycled = self.recycled()?;
        let number = recycled.map_or(0, |(_, number)| number);
        let made = self.agent.zygote.all(&[order::make(0, name, number)])?;
        if let Err(errno) = self.recycled_to(recycled, task, super::answer(made))? {
            return Err(Trouble::Broken(format!("no process can be made: {errno}")));
        }
        self.welcome(task, name, false)?;
        let hand = &mut self.task(task)?.hand;
        let mut orders = memlock(hand.scratch, start.memlock)?;
        if start.uid != 0 || start.caps != Caps::FULL {
            const PR_SET_DUMPABLE: u64 = 4;
            orders.extend(identity(hand.scratch, start.uid, start.caps));
            // A change of user makes a process undumpable; a program that was started so is not.
            orders.push(order::syscall(nr::PRCTL, [PR_SET_DUMPABLE, 1, 0, 0, 0, 0]));
        }
        match super::answer(hand.each(&orders)?) {
            Ok(_) => Ok(()),
            Err(errno) => Err(Trouble::Broken(format!(
                "a process cannot be started so: {errno}"
            ))),
        }
    }

    fn file(&mut self, file: u16, new: &NewFile) -> Result<(), Trouble> {
        let dir = if new.shmem {
            let dir = match self.shm.take() {
                Some(dir) => dir,
                None => tempfile::Builder::new()
                    .prefix("mctl-conformance-")
                    .tempdir_in("/dev/shm")
                    .map_err(|e| Trouble::NotPossible(format!("no tmpfs: {e}")))?,
            };
            super::hand::mode(dir.path(), 0o755)?;
            self.shm.insert(dir).path()
        } else {
            self.agent.dir()
        };
        let path = dir.join(format!("file-{file}"));
        let made = std::fs::File::create(&path).map_err(Trouble::broken)?;
        made.set_len(new.len).map_err(Trouble::broken)?;
        // Whoever a task is: that is not what cases of files are about.
        super::hand::mode(&path, 0o666)?;
        let at = usize::from(file);
        if self.files.len() <= at {
            self.files.resize(at + 1, None);
        }
        if let Some(slot) = self.files.get_mut(at) {
            *slot = Some((path, *new));
        }
        Ok(())
    }

    fn reclaim(&mut self, _folios: u64) -> Result<(), Trouble> {
        let why = "a test does not put the whole host under memory pressure";
        Err(Trouble::NotPossible(why.to_owned()))
    }

    fn recycle(&mut self, task: u16) -> Result<(), Trouble> {
        let task = self.by_number(task)?;
        if self.life(task)? != Life::Gone {
            let why = "a number that somebody has cannot be given again";
            return Err(Trouble::NotPossible(why.to_owned()));
        }
        let found = self.task(task)?;
        let pid = u64::from(found.hand.pid);
        if !found.reaped {
            // Nobody of the history waits for it: the harness does, as init would.
            found.reaped = true;
            let args = [pid, 0, 0, 0, 0, 0];
            let waited = super::answer(self.agent.zygote.syscall(nr::WAIT4, args)?);
            if let Err(errno) = waited {
                return Err(Trouble::NotPossible(format!(
                    "the number of a dead task does not become free: {errno}"
                )));
            }
        }
        self.recycles = Some(task);
        Ok(())
    }

    fn call(&mut self, task: u16, call: &Call) -> Result<Answer, Trouble> {
        self.carry_out(task, call)
    }

    fn observe(&mut self, task: u16, scope: Scope) -> Result<View, Trouble> {
        self.turn_to(task)?;
        let Task { hand, reader, .. } = self.task(task)?;
        let mut view = reader.view(hand.tid, scope.everywhere)?;
        if scope.status {
            view.status = Some(reader.status(hand.tid)?);
        }
        Ok(view)
    }

    fn life(&mut self, task: u16) -> Result<Life, Trouble> {
        let found = self.task(task)?;
        if found.reaped {
            return Ok(Life::Gone);
        }
        let (tid, parent) = (found.hand.tid, found.parent);
        let life = proc::life(tid);
        if life != Life::Zombie {
            return Ok(life);
        }
        // What no task of the history waits for is init's; here the harness waits at the end.
        let mut runs = false;
        for other in self.group(task)? {
            runs |= !self.task(other)?.ended;
        }
        let orphan = match parent {
            None => true,
            Some(parent) => {
                let pid = self.task(parent)?.hand.pid;
                let mut family = self.tasks.iter().flatten();
                family.all(|other| other.hand.pid != pid || other.ended)
            }
        };
        Ok(if orphan && !runs {
            Life::Gone
        } else {
            Life::Zombie
        })
    }

    fn best_effort(&mut self, on: bool) -> bool {
        self.best_effort = on && self.engine.knows_best_effort();
        self.best_effort == on
    }

    fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    fn told(&self) -> Option<Told> {
        self.told
    }

    fn shortfall(&self) -> Option<(&str, Short)> {
        self.shortfall
            .as_ref()
            .map(|(said, short)| (said.as_str(), *short))
    }

    fn policy(&mut self, task: u16) -> Result<u32, Trouble> {
        let tid = self.task(task)?.hand.tid;
        if let Some(mask) = self.engine.observed_policy(tid)? {
            return Ok(mask);
        }
        let call = Call::Mctl(
            crate::call::Whom::SelfThread,
            mctl_abi::Action::GetPolicy.number(),
            0,
            How::default(),
        );
        match self.carry_out(task, &call)? {
            Ok(mask) => u32::try_from(mask).map_err(Trouble::broken),
            Err(errno) => Err(Trouble::broken(errno)),
        }
    }

    fn measure(&mut self, look: &Look) -> Result<u64, Trouble> {
        let why = match look {
            Look::Folios(..) | Look::Refaults(..) => {
                "the kernel does not tell on which list a file's folio is"
            }
            _ => "the suite does not read single pages of a real process",
        };
        Err(Trouble::NotPossible(why.to_owned()))
    }

    fn places(&self) -> &Places {
        &self.places
    }
}
