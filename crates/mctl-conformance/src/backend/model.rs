//! The model as a backend.

use mctl_abi::Errno;
use mctl_abi::permission::Yama;
use mctl_abi::thp::Host;
use mctl_model::{
    CloneArgs, ExecArgs, FileId, FileInfo, Image, IoVec, Kernel, Knobs, Limits, MapArgs, MapSource,
    Model, PAGE, PageKind, Program, SpawnArgs, TaskId, TaskState,
};

use super::engine::Told;
use super::{Answer, Backend, NewFile, Places, Start, Trouble};
use crate::call::{Addr, Call, Entries, Life, Look, Place, Prctl, Source};
use crate::control::Control;
use crate::lang::{Fact, Names, Needs, Setup};
use crate::view::{ARENA, Scope, Span, View, comparable};

/// Runs histories on [`Model`].
#[derive(Debug)]
pub struct ModelBackend {
    pub(super) model: Model,
    /// What a scenario does not name is as here.
    host: Setup,
    /// Its kernel is the host's, whatever a scenario needs.
    pinned: bool,
    /// A fault on purpose.
    pub(super) control: Option<Control>,
    /// It plays a kernel without mctl(), and the engine on it.
    pub(super) stock: bool,
    pub(super) told: Option<Told>,
    image: Image,
    tasks: Vec<Option<TaskId>>,
    /// The numbers of tasks, kept after their death.
    pids: Vec<(u32, u64)>,
    fds: Vec<Option<i32>>,
    files: Vec<Option<FileId>>,
    places: Places,
}

impl Default for ModelBackend {
    fn default() -> ModelBackend {
        ModelBackend::new(Image::default())
    }
}

fn put<T: Clone>(list: &mut Vec<Option<T>>, at: u16, value: T) {
    let at = usize::from(at);
    if list.len() <= at {
        list.resize(at + 1, None);
    }
    if let Some(slot) = list.get_mut(at) {
        *slot = Some(value);
    }
}

fn unit(result: Result<(), Errno>) -> Answer {
    result.map(|()| 0)
}

pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl ModelBackend {
    /// The same with a fault on purpose, which the suite has to notice.
    #[must_use]
    pub fn with_control(self, control: Control) -> ModelBackend {
        ModelBackend {
            control: Some(control),
            ..self
        }
    }

    /// The same on this host, where a scenario does not ask for another.
    #[must_use]
    pub fn on_host(self, host: Setup) -> ModelBackend {
        ModelBackend { host, ..self }
    }

    /// The same under one kernel: a scenario that needs another one is not possible there.
    #[must_use]
    pub fn under(self, kernel: Kernel) -> ModelBackend {
        ModelBackend {
            host: Setup::under(kernel),
            pinned: true,
            ..self
        }
    }

    /// A model whose processes have this image.
    #[must_use]
    pub fn new(image: Image) -> ModelBackend {
        ModelBackend {
            model: Model::new(Knobs::default()),
            host: Setup::default(),
            pinned: false,
            control: None,
            stock: false,
            told: None,
            image,
            tasks: Vec::new(),
            pids: Vec::new(),
            fds: Vec::new(),
            files: Vec::new(),
            places: Places::default(),
        }
    }

    /// The model itself.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model's name for a task.
    ///
    /// # Errors
    /// `Broken` where the scenario has not started it.
    pub fn task(&self, task: u16) -> Result<TaskId, Trouble> {
        self.tasks
            .get(usize::from(task))
            .copied()
            .flatten()
            .ok_or_else(|| Trouble::broken("the task was never started"))
    }

    fn file_id(&self, file: u16) -> Result<FileId, Trouble> {
        self.files
            .get(usize::from(file))
            .copied()
            .flatten()
            .ok_or_else(|| Trouble::broken("the file was never made"))
    }

    fn bind_task(&mut self, at: u16, task: TaskId) {
        put(&mut self.tasks, at, task);
        let place = usize::from(at);
        if self.pids.len() <= place {
            self.pids.resize(place + 1, (0, 0));
        }
        if let (Some(slot), Some(pid)) = (self.pids.get_mut(place), self.model.pid(task)) {
            *slot = pid;
        }
    }

    pub(super) fn fd(&self, fd: u16) -> i32 {
        self.fds
            .get(usize::from(fd))
            .copied()
            .flatten()
            .unwrap_or(-1)
    }

    pub(super) fn pid(&self, task: u16) -> Result<(u32, u64), Trouble> {
        // A thread that execs takes another number; what is dead keeps the one it had.
        let now = self.model.pid(self.task(task)?);
        let then = self.pids.get(usize::from(task)).copied();
        Ok(now.or(then).unwrap_or((0, 0)))
    }

    pub(super) fn vec(&self, list: &[(Addr, u64)]) -> Vec<IoVec> {
        list.iter()
            .map(|(at, len)| IoVec {
                start: self.places.resolve(*at),
                len: *len,
            })
            .collect()
    }

    fn map(&mut self, task: TaskId, call: &Call) -> Result<Answer, Trouble> {
        let Call::Map {
            region,
            at,
            len,
            prot,
            shared,
            place,
            growsdown,
            locked,
            populate,
            noreserve,
            stack,
            source,
        } = call
        else {
            return Err(Trouble::broken("not a mapping"));
        };
        let own = at.map_or_else(|| Places::own(*region), |at| self.places.resolve(at));
        let args = MapArgs {
            addr: if *place == Place::Anywhere { 0 } else { own },
            len: *len,
            prot: *prot,
            shared: *shared,
            fixed: *place == Place::Fixed,
            noreplace: *place == Place::Noreplace,
            growsdown: *growsdown,
            locked: *locked,
            populate: *populate,
            noreserve: *noreserve,
            stack: *stack,
            source: match source {
                Source::Anon => MapSource::Anon,
                Source::Hugetlb => MapSource::Hugetlb,
                Source::File(file, offset) => MapSource::File {
                    file: self.file_id(*file)?,
                    offset: *offset,
                },
            },
        };
        Ok(self.model.mmap(task, &args).map(|address| {
            self.places.bind(*region, address);
            0
        }))
    }

    fn prctl(&mut self, task: TaskId, which: Prctl, args: [u64; 4]) -> Answer {
        match which {
            Prctl::SetThpDisable => unit(self.model.set_thp_disable(task, args)),
            Prctl::GetThpDisable => self.model.get_thp_disable(task, args),
            Prctl::SetMemoryMerge => unit(self.model.set_memory_merge(task, args)),
            Prctl::GetMemoryMerge => self.model.get_memory_merge(task, args),
            Prctl::SetNoNewPrivs => unit(self.model.set_no_new_privs(task, args)),
            Prctl::GetNoNewPrivs => self.model.get_no_new_privs(task, args),
            Prctl::SetDumpable => unit(self.model.set_dumpable(task, args[0])),
        }
    }
}

impl ModelBackend {
    /// Makes mappings of a page each until only `left` more may be made.
    fn fill_mappings(&mut self, id: TaskId, left: u64) -> Result<Answer, Trouble> {
        let limit = self.model.knobs().max_map_count;
        let have = self.model.mm(id).map_or(0, mctl_model::Mm::map_count);
        let (start, most) = crate::view::filler();
        let more = limit.saturating_sub(left).saturating_sub(have);
        for at in 0..more.min(most) {
            let args = MapArgs {
                noreplace: true,
                prot: if at % 2 == 0 {
                    mctl_model::VmFlags::NONE
                } else {
                    mctl_model::VmFlags::READ
                },
                ..MapArgs::anon(start + at * PAGE, PAGE)
            };
            if let Err(errno) = self.model.mmap(id, &args) {
                return Ok(Err(errno));
            }
        }
        Ok(Ok(0))
    }
}

impl Backend for ModelBackend {
    fn name(&self) -> &'static str {
        "model"
    }

    fn as_stock(&mut self, stock: bool) {
        self.stock = stock;
    }

    fn told(&self) -> Option<Told> {
        self.told
    }

    fn fact(&self, fact: Fact) -> bool {
        self.pinned && fact.on(&self.host)
    }

    fn thp_knobs(&self) -> (Host, Option<Host>) {
        let knobs = self.model.knobs();
        (knobs.thp, Some(knobs.shmem))
    }

    fn begin(&mut self, needs: &Needs, names: &Names) -> Result<(), Trouble> {
        let missing = needs.missing_in_kernel(&self.host);
        if let Some(missing) = missing.filter(|_| self.pinned) {
            return Err(Trouble::NotPossible(missing));
        }
        let setup = needs.over(&self.host);
        self.model = Model::new(Knobs {
            thp: setup.thp,
            shmem: setup.shmem.unwrap_or(Host::Never),
            swap_pages: setup.swap_pages,
            hugetlb_pages: setup.hugetlb_pages,
            max_map_count: setup.max_map_count,
            yama: Yama::from_scope(setup.yama),
            huge_zero_write: setup.huge_zero_write,
            features: setup.features,
            mutant: match self.control {
                Some(Control::Mutant(mutant)) => Some(mutant),
                Some(Control::Nothing | Control::Claims) | None => None,
            },
            ..Knobs::default()
        });
        self.model.set_image(self.image.clone());
        self.tasks.clear();
        self.pids.clear();
        self.fds.clear();
        self.files.clear();
        self.places.reset(names.regions.len(), &self.image);
        Ok(())
    }

    fn spawn(&mut self, task: u16, start: &Start) -> Result<(), Trouble> {
        let args = SpawnArgs {
            uid: start.uid,
            caps: start.caps,
            limits: Limits {
                memlock: start.memlock,
                ..Limits::default()
            },
            kernel_thread: start.kernel,
        };
        let id = self.model.spawn(&args).map_err(Trouble::broken)?;
        self.bind_task(task, id);
        Ok(())
    }

    fn file(&mut self, file: u16, new: &NewFile) -> Result<(), Trouble> {
        let id = self.model.create_file(FileInfo {
            name: format!("file {file}"),
            len: new.len,
            shmem: new.shmem,
            writable: !new.readonly,
        });
        put(&mut self.files, file, id);
        Ok(())
    }

    fn reclaim(&mut self, folios: u64) -> Result<(), Trouble> {
        self.model.reclaim(folios);
        Ok(())
    }

    fn recycle(&mut self, task: u16) -> Result<(), Trouble> {
        let (pid, _) = self.pid(task)?;
        self.model.set_last_pid(pid.saturating_sub(1));
        Ok(())
    }

    fn call(&mut self, task: u16, call: &Call) -> Result<Answer, Trouble> {
        let id = self.task(task)?;
        let at = |addr: &Addr| self.places.resolve(*addr);
        Ok(match call {
            Call::Map { .. } => return self.map(id, call),
            Call::Unmap(addr, len) => unit(self.model.munmap(id, at(addr), *len)),
            Call::Protect(addr, len, prot, down) => {
                unit(self.model.mprotect(id, at(addr), *len, *prot, *down))
            }
            Call::Remap {
                at: from,
                old,
                new,
                maymove,
                to,
                dontunmap,
                result,
            } => {
                let (from, to) = (at(from), to.as_ref().map(at));
                let moved = self
                    .model
                    .mremap(id, from, *old, *new, *maymove, to, *dontunmap);
                moved.map(|address| {
                    if let Some(region) = result {
                        self.places.bind(*region, address);
                    }
                    0
                })
            }
            Call::Brk(addr) => {
                let want = at(addr);
                match self.model.brk(id, want) {
                    Ok(end) if end == want => Ok(0),
                    Ok(_) => Err(Errno::ENOMEM),
                    Err(errno) => Err(errno),
                }
            }
            Call::Madvise(addr, len, advice) => {
                unit(self.model.madvise(id, at(addr), *len, *advice))
            }
            Call::Lock(addr, len) => unit(self.model.mlock(id, at(addr), *len, false)),
            Call::Lock2(addr, len, flags) => unit(self.model.mlock2(id, at(addr), *len, *flags)),
            Call::Unlock(addr, len) => unit(self.model.munlock(id, at(addr), *len)),
            Call::LockAll(flags) => unit(self.model.mlockall(id, *flags)),
            Call::UnlockAll => unit(self.model.munlockall(id)),
            Call::Touch(addr, len, write) => unit(self.model.touch(id, at(addr), *len, *write)),
            Call::Clone(kind, child) => {
                let made = self.model.clone_task(id, CloneArgs { kind: *kind });
                made.map(|made| {
                    self.bind_task(*child, made);
                    0
                })
            }
            Call::Exec { set_uid, script } => {
                let program = Program {
                    set_uid: *set_uid,
                    ..Program::default()
                };
                let program = if *script {
                    // The bit is on the script, where it counts for nothing.
                    Program {
                        interpreter: Some(Box::default()),
                        ..program
                    }
                } else {
                    program
                };
                let args = ExecArgs {
                    program,
                    image: None,
                };
                self.model.exec(id, &args).map(|_| 0)
            }
            Call::Exit => unit(self.model.exit(id)),
            Call::ExitThread => unit(self.model.exit_thread(id)),
            Call::Wait(child) => {
                let (pid, _) = self.pid(*child)?;
                unit(self.model.wait(id, pid))
            }
            Call::Kill(target, signal) => {
                let (pid, _) = self.pid(*target)?;
                unit(self.model.kill(id, pid, *signal))
            }
            Call::PidfdOpen(fd, target, flags) => {
                let (pid, _) = self.pid(*target)?;
                let opened = self.model.pidfd_open(id, i64::from(pid), *flags);
                opened.map(|number| {
                    put(&mut self.fds, *fd, number);
                    0
                })
            }
            Call::OpenOther(fd) => self.model.open_other(id).map(|number| {
                put(&mut self.fds, *fd, number);
                0
            }),
            Call::Close(fd) => unit(self.model.close(id, self.fd(*fd))),
            // An engine that says yes and does nothing.
            Call::Mctl(..) if self.control == Some(Control::Nothing) => {
                self.told = Some(Told::ENFORCED);
                Ok(0)
            }
            Call::Pmadvise(_, _, _, Entries::List(list), _)
                if self.control == Some(Control::Nothing) =>
            {
                Ok(number(list.iter().map(|(_, len)| len).sum()))
            }
            Call::Pmadvise(..) if self.control == Some(Control::Nothing) => Ok(1 << 20),
            Call::Mctl(whom, action, flags, how) => {
                return self.mctl(id, *whom, *action, *flags, *how);
            }
            Call::Prctl(which, args) => self.prctl(id, *which, *args),
            Call::FillMappings(left) => return self.fill_mappings(id, *left),
            Call::Memlock(_) if self.model.state(id) != Some(TaskState::Running) => {
                let blocked = self.model.state(id) == Some(TaskState::InVfork);
                Err(if blocked { Errno::EBUSY } else { Errno::ESRCH })
            }
            Call::Memlock(bytes) => {
                let mut limits = self.model.limits(id).unwrap_or_default();
                limits.memlock = *bytes;
                unit(self.model.set_limits(id, limits))
            }
            Call::Become(uid, caps) => unit(self.model.set_ids(id, *uid, *caps)),
            Call::UnshareUser => self.model.unshare_user(id).map(|_| 0),
            Call::ProcessMadvise(..) | Call::Pmadvise(..) => {
                return self.advise_other(id, call);
            }
            Call::ReadFile(file, first, pages) => {
                let file = self.file_id(*file)?;
                unit(self.model.read_file(id, file, *first, *pages))
            }
        })
    }

    fn observe(&mut self, task: u16, scope: Scope) -> Result<View, Trouble> {
        let id = self.task(task)?;
        let mut view = View::default();
        let range = if scope.everywhere { 0..u64::MAX } else { ARENA };
        for seen in self.model.observe_all(id, range.start, range.end) {
            view.push(Span {
                start: seen.start,
                end: seen.end,
                flags: comparable(seen.flags),
                rss: if seen.anon { seen.rss } else { 0 },
                huge: if seen.anon { seen.huge } else { 0 },
                eligible: seen.eligible,
                anon: seen.anon,
            });
        }
        if scope.status
            && let Some(mm) = self.model.mm(id)
        {
            let enabled = mm.thp_disable() != mctl_abi::thp::ThpDisable::Full;
            view.status = Some((mm.locked(), enabled));
        }
        Ok(view)
    }

    fn life(&mut self, task: u16) -> Result<Life, Trouble> {
        Ok(match self.model.state(self.task(task)?) {
            None => Life::Gone,
            Some(TaskState::Zombie) => Life::Zombie,
            Some(TaskState::Running | TaskState::InVfork) => Life::Alive,
        })
    }

    fn policy(&mut self, task: u16) -> Result<u32, Trouble> {
        if self.stock {
            return self.stock_policy(self.task(task)?);
        }
        let mm = self.model.mm(self.task(task)?);
        mm.map(|mm| mm.policy().mask())
            .ok_or_else(|| Trouble::broken("the task has no address space"))
    }

    fn measure(&mut self, look: &Look) -> Result<u64, Trouble> {
        let pages = |task: &u16, at: &Addr, len: &u64, which: fn(&mctl_model::Run) -> bool| {
            let mm = self.model.mm(self.task(*task)?);
            let mm = mm.ok_or_else(|| Trouble::broken("the task has no address space"))?;
            let start = self.places.resolve(*at);
            let end = start.saturating_add(*len);
            let runs = mm.runs(start, end).chain(mm.file_runs(start, end));
            Ok(runs
                .filter(which)
                .map(|run| run.end - run.start)
                .sum::<u64>()
                / PAGE
                * PAGE)
        };
        match look {
            Look::Swapped(task, at, len, _) => {
                pages(task, at, len, |run| run.kind == PageKind::Swapped)
            }
            Look::Dirty(task, at, len, _) => pages(task, at, len, |run| run.dirty),
            Look::Young(task, at, len, _) => pages(task, at, len, |run| run.young),
            Look::Refaults(file, _) => Ok(self.model.refaults(self.file_id(*file)?)),
            Look::Folios(file, ..) => {
                let (active, inactive) = self.model.file_folios(self.file_id(*file)?);
                Ok(active << 32 | inactive)
            }
            _ => Err(Trouble::broken("not a measurement")),
        }
    }

    fn places(&self) -> &Places {
        &self.places
    }
}
