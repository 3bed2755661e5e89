//! Real processes on this kernel.
//!
//! A small static agent carries the steps out inside itself; it forks and execs for real. What
//! comes of them is looked at from outside, through /proc. `mctl` goes through an [`Engine`].

mod calls;
mod engine;
mod hand;
mod host;
mod identity;
mod memory;
mod nr;
mod proc;
mod remote;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mctl_model::{Caps, Image, page_align};

use super::{Answer, Backend, NewFile, Places, Start, Trouble};
use crate::call::{Call, Life, Look};
use crate::lang::{Names, Setup};
use crate::view::{Scope, View};
pub use engine::{Engine, EngineAdvice, EngineCall, EngineTarget, OwnPrctl, OwnProcess};
use hand::{Agent, Hand, order};
use host::host;
use identity::{identity, memlock};
use proc::Reader;

/// One task of a history.
#[derive(Debug)]
struct Task {
    hand: Hand,
    reader: Reader,
    /// It has been waited for: its number may be somebody else's.
    reaped: bool,
    /// The name of the parent that waits in vfork(2).
    frees: Option<u16>,
    /// It waits in vfork(2).
    blocked: bool,
    thread: bool,
    /// It was made to end.
    ended: bool,
    /// Who made it.
    parent: Option<u16>,
}

/// Runs histories on this kernel.
pub struct StockBackend {
    agent: Agent,
    engine: Box<dyn Engine + Send>,
    image: Image,
    tasks: Vec<Option<Task>>,
    fds: Vec<Option<i64>>,
    files: Vec<Option<(PathBuf, NewFile)>>,
    shm: Option<tempfile::TempDir>,
    places: Places,
    host: Setup,
    names: u64,
}

impl std::fmt::Debug for StockBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StockBackend")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl StockBackend {
    /// Builds and starts the agent, with `engine` for `mctl`.
    ///
    /// # Errors
    /// `NotPossible` where this is no Linux on x86-64, there is no C compiler, the kernel lacks
    /// huge pages, or the harness may not start processes of other users.
    pub fn new(engine: Box<dyn Engine + Send>) -> Result<StockBackend, Trouble> {
        if !rustix::process::geteuid().is_root() {
            let why = "the suite starts processes of several users and needs root";
            return Err(Trouble::NotPossible(why.to_owned()));
        }
        let host = host()?;
        let agent = Agent::start()?;
        let mut backend = StockBackend {
            agent,
            engine,
            image: Image::default(),
            tasks: Vec::new(),
            fds: Vec::new(),
            files: Vec::new(),
            shm: None,
            places: Places::default(),
            host,
            names: 0,
        };
        backend.image = backend.measure_image()?;
        Ok(backend)
    }

    /// What exec really maps here: give it to the model, so that both agree on sizes.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The host, as a scenario describes it.
    #[must_use]
    pub fn host(&self) -> &Setup {
        &self.host
    }

    fn measure_image(&mut self) -> Result<Image, Trouble> {
        let start = Start {
            uid: 0,
            caps: Caps::FULL,
            memlock: 8 << 20,
            kernel: false,
        };
        self.spawn(0, &start)?;
        let task = self.task(0)?;
        let mut image = proc::image(task.hand.tid)?;
        let end = task.hand.syscall(nr::BRK, [0; 6])?;
        image.brk = u64::try_from(end).unwrap_or(image.brk_start);
        self.clear()?;
        Ok(image)
    }

    fn task(&mut self, task: u16) -> Result<&mut Task, Trouble> {
        let found = self.tasks.get_mut(usize::from(task));
        found
            .and_then(Option::as_mut)
            .ok_or_else(|| Trouble::broken("the task was never started"))
    }

    fn put(&mut self, at: u16, task: Task) {
        let at = usize::from(at);
        if self.tasks.len() <= at {
            self.tasks.resize_with(at + 1, || None);
        }
        if let Some(slot) = self.tasks.get_mut(at) {
            *slot = Some(task);
        }
    }

    /// A number that no other task came in by.
    fn fresh_name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    /// Makes a task by an order to a maker, and binds it to its name.
    fn welcome(&mut self, at: u16, name: u64, thread: bool) -> Result<(), Trouble> {
        let hand = self.agent.welcome(name)?;
        self.put(
            at,
            Task {
                hand,
                reader: Reader::default(),
                reaped: false,
                frees: None,
                blocked: false,
                thread,
                ended: false,
                parent: None,
            },
        );
        Ok(())
    }

    /// Ends every task of the history and waits for all of them.
    fn clear(&mut self) -> Result<(), Trouble> {
        for task in self.tasks.iter().flatten() {
            // One that was not waited for keeps its number, so it is still the same process.
            if !task.reaped
                && !task.thread
                && let Ok(pid) = i32::try_from(task.hand.pid)
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        let any = !self.tasks.is_empty();
        self.tasks.clear();
        self.fds.clear();
        if !any {
            return Ok(());
        }
        let mut left = 10_000;
        let all = [u64::MAX, 0, 0, 0, 0, 0];
        while self.agent.zygote.syscall(nr::WAIT4, all)? > 0 {
            left -= 1;
            if left == 0 {
                return Err(Trouble::broken("the tasks of a history do not end"));
            }
        }
        Ok(())
    }

    /// The tasks of a task's process, itself included.
    fn group(&mut self, task: u16) -> Result<Vec<u16>, Trouble> {
        let pid = self.task(task)?.hand.pid;
        Ok((0..)
            .zip(&self.tasks)
            .filter(|(_, other)| {
                let other = other.as_ref();
                other.is_some_and(|other| other.hand.pid == pid && !other.reaped)
            })
            .map(|(at, _)| at)
            .collect())
    }

    /// A thread that execs takes the first one's place, under the first one's parent.
    fn take_first_place(&mut self, task: u16) -> Result<(), Trouble> {
        for other in self.group(task)? {
            let first = self.task(other)?;
            if other != task && first.hand.tid == first.hand.pid {
                let parent = first.parent;
                let found = self.task(task)?;
                found.parent = parent;
                found.thread = false;
            }
        }
        Ok(())
    }

    /// After an exec nothing is left of the process's other tasks.
    fn others_gone(&mut self, task: u16) -> Result<(), Trouble> {
        for other in self.group(task)? {
            if other != task {
                self.release(other)?;
                let other = self.task(other)?;
                other.ended = true;
                other.reaped = true;
            }
        }
        Ok(())
    }

    /// A task, or with `whole` its process, was made to end: waits until others see it dead.
    fn ended(&mut self, task: u16, whole: bool) -> Result<(), Trouble> {
        let tasks = if whole { self.group(task)? } else { vec![task] };
        let limit = Instant::now() + Duration::from_secs(10);
        for task in tasks {
            let found = self.task(task)?;
            found.ended = true;
            let tid = found.hand.tid;
            while proc::life(tid) == Life::Alive {
                if Instant::now() > limit {
                    return Err(Trouble::broken("a task does not end"));
                }
                std::thread::yield_now();
            }
            self.release(task)?;
        }
        Ok(())
    }

    /// After a vfork child has left the address space its parent goes on, and answers.
    fn release(&mut self, child: u16) -> Result<(), Trouble> {
        if let Some(parent) = self.task(child)?.frees.take() {
            self.task(parent)?.blocked = false;
        }
        Ok(())
    }
}

impl Drop for StockBackend {
    fn drop(&mut self) {
        self.clear().ok();
    }
}

impl Backend for StockBackend {
    fn name(&self) -> &'static str {
        "stock"
    }

    fn begin(&mut self, setup: &Setup, names: &Names) -> Result<(), Trouble> {
        self.clear()?;
        self.files.clear();
        let wanted = [
            (setup.thp == self.host.thp, "transparent_hugepage/enabled"),
            (setup.shmem == self.host.shmem, "shmem_enabled"),
            (setup.swap_pages == self.host.swap_pages, "swap"),
            (
                setup.hugetlb_pages == self.host.hugetlb_pages,
                "nr_hugepages",
            ),
            (
                setup.max_map_count == self.host.max_map_count,
                "max_map_count",
            ),
            (setup.yama == self.host.yama, "yama/ptrace_scope"),
        ];
        if let Some((_, name)) = wanted.iter().find(|(same, _)| !same) {
            return Err(Trouble::NotPossible(format!(
                "the case asks for another {name} than this host has, and the suite never changes one"
            )));
        }
        let heap = page_align(self.image.brk).unwrap_or(self.image.brk);
        self.places.reset(names.regions.len(), heap);
        Ok(())
    }

    fn spawn(&mut self, task: u16, start: &Start) -> Result<(), Trouble> {
        if start.kernel {
            let why = "a test cannot start a kernel thread";
            return Err(Trouble::NotPossible(why.to_owned()));
        }
        let name = self.fresh_name();
        self.agent.zygote.all(&[order::make(0, name)])?;
        self.welcome(task, name, false)?;
        let hand = &mut self.task(task)?.hand;
        let mut orders = memlock(hand.scratch, start.memlock)?;
        if start.uid != 0 || start.caps != Caps::FULL {
            const PR_SET_DUMPABLE: u64 = 4;
            orders.extend(identity(hand.scratch, start.uid, start.caps));
            // A change of user makes a process undumpable; a program that was started so is not.
            orders.push(order::syscall(nr::PRCTL, [PR_SET_DUMPABLE, 1, 0, 0, 0, 0]));
        }
        hand.all(&orders).map(|_| ())
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
            self.shm.insert(dir).path()
        } else {
            self.agent.dir()
        };
        let path = dir.join(format!("file-{file}"));
        let made = std::fs::File::create(&path).map_err(Trouble::broken)?;
        made.set_len(new.len).map_err(Trouble::broken)?;
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

    fn recycle(&mut self, _task: u16) -> Result<(), Trouble> {
        let why = "a test does not move the host's last PID";
        Err(Trouble::NotPossible(why.to_owned()))
    }

    fn call(&mut self, task: u16, call: &Call) -> Result<Answer, Trouble> {
        self.carry_out(task, call)
    }

    fn observe(&mut self, task: u16, scope: Scope) -> Result<View, Trouble> {
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

    fn policy(&mut self, task: u16) -> Result<u32, Trouble> {
        let call = Call::Mctl(
            crate::call::Whom::SelfThread,
            mctl_abi::Action::GetPolicy.number(),
            0,
            false,
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
