//! Real processes on this kernel.
//!
//! A small static agent carries the steps out inside itself; it forks and execs for real. What
//! comes of them is looked at from outside, through /proc. `mctl` goes through an [`Engine`]:
//! the library on a stock kernel, or a patched kernel's own call.

mod calls;
mod facts;
mod fill;
mod hand;
mod host;
mod identity;
mod memory;
pub(super) mod nr;
pub(super) mod proc;
mod remote;
mod steps;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mctl_model::Image;

use super::engine::{Done, Engine, Library, Native, Short, Told};
use super::{Answer, Backend, NewFile, Places, Start, Trouble};
use crate::call::Life;
use crate::lang::Setup;
pub(super) use calls::{answer, fd_arg};
use hand::{Agent, Hand};
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
    /// The thread whose exec put it in this one's place: the number is that one's now.
    replaced_by: Option<u16>,
    /// Whoever got its number after its death.
    recycled_by: Option<u16>,
    /// Where its heap begins and its stack ends, where that is not as in every other process: a
    /// set-id program gets its addresses at random.
    own_bases: Option<(u64, u64)>,
}

/// Runs histories on this kernel.
pub struct StockBackend {
    agent: Agent,
    engine: Box<dyn Engine + Send>,
    best_effort: bool,
    /// The host's knobs as they were, where they may be set.
    arranges: Option<Setup>,
    reason: Option<String>,
    shortfall: Option<(String, Short)>,
    told: Option<Told>,
    image: Image,
    tasks: Vec<Option<Task>>,
    fds: Vec<Option<i64>>,
    files: Vec<Option<(PathBuf, NewFile)>>,
    shm: Option<tempfile::TempDir>,
    places: Places,
    host: Setup,
    names: u64,
    /// The dead task whose number the next process gets.
    recycles: Option<u16>,
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
            best_effort: false,
            arranges: None,
            reason: None,
            shortfall: None,
            told: None,
            image: Image::default(),
            tasks: Vec::new(),
            fds: Vec::new(),
            files: Vec::new(),
            shm: None,
            places: Places::default(),
            host,
            names: 0,
            recycles: None,
        };
        backend.image = backend.measure_image()?;
        backend.try_kernel()?;
        Ok(backend)
    }

    /// With the `mctl` library, whose deputies are `program`.
    ///
    /// # Errors
    /// As [`StockBackend::new`].
    pub fn with_library(program: PathBuf) -> Result<StockBackend, Trouble> {
        StockBackend::new(Box::new(Library::by(program)))
    }

    /// With a patched kernel's own call.
    ///
    /// # Errors
    /// As [`StockBackend::new`]; `NotPossible` where this kernel does not announce the call.
    pub fn native() -> Result<StockBackend, Trouble> {
        StockBackend::new(Box::new(Native::new()?))
    }

    /// Sets the host's knobs as each scenario asks, and puts them back at the end. For throw-away
    /// machines only: it concerns every process there.
    pub fn arrange_host(&mut self) {
        self.arranges = Some(self.host.clone());
    }

    /// Takes down what the engine said about a call.
    fn heard(&mut self, done: Done) -> Answer {
        let known = self
            .shortfall
            .as_ref()
            .map_or(Short::Nowhere, |(_, short)| *short);
        if done.short != Short::Nowhere && known != Short::Elsewhere {
            let said = done.said.clone().unwrap_or_default();
            self.shortfall = Some((said, done.short));
        }
        self.reason = done.said;
        self.told = done.told;
        done.answer
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
        self.spawn(0, &Start::root())?;
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
                replaced_by: None,
                recycled_by: None,
                own_bases: None,
            },
        );
        Ok(())
    }

    /// Addresses are counted from this task's heap and stack from now on.
    fn turn_to(&mut self, task: u16) -> Result<(), Trouble> {
        let own = self.task(task)?.own_bases;
        self.places.turn_to(&self.image, own);
        Ok(())
    }

    /// After an exec: where the new image's heap and stack are. A program that gains rights by it gets
    /// its addresses at random, and so does everything that is executed after it.
    fn settle(&mut self, task: u16) -> Result<(), Trouble> {
        let found = self.task(task)?;
        let mut image = proc::image(found.hand.pid)?;
        let end = found.hand.syscall(nr::BRK, [0; 6])?;
        image.brk = u64::try_from(end).unwrap_or(image.brk_start);
        let bases = Places::bases(&image);
        self.task(task)?.own_bases = (bases != Places::bases(&self.image)).then_some(bases);
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
        self.recycles = None;
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

    /// Who has a task's number: itself, or the thread that took its place.
    fn follow(&mut self, task: u16) -> Result<u16, Trouble> {
        let mut at = task;
        // Each step leads to another task of the history.
        for _ in 0..self.tasks.len() {
            match self.task(at)?.replaced_by {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(at)
    }

    /// Who has a task's number now, as [`StockBackend::follow`]; or who got it after its death.
    fn by_number(&mut self, task: u16) -> Result<u16, Trouble> {
        let mut at = self.follow(task)?;
        for _ in 0..self.tasks.len() {
            match self.task(at)?.recycled_by {
                Some(next) => at = self.follow(next)?,
                None => break,
            }
        }
        Ok(at)
    }

    /// The number that the next process shall get, and whose it was.
    fn recycled(&mut self) -> Result<Option<(u16, u32)>, Trouble> {
        let Some(dead) = self.recycles.take() else {
            return Ok(None);
        };
        Ok(Some((dead, self.task(dead)?.hand.pid)))
    }

    /// What came of making a process with a number of our choice.
    fn recycled_to(
        &mut self,
        recycled: Option<(u16, u32)>,
        heir: u16,
        made: Answer,
    ) -> Result<Answer, Trouble> {
        let Some((dead, number)) = recycled else {
            return Ok(made);
        };
        match made {
            Ok(_) => {
                self.task(dead)?.recycled_by = Some(heir);
                Ok(made)
            }
            Err(errno) => Err(Trouble::NotPossible(format!(
                "no process can be given the number {number} again: {errno}"
            ))),
        }
    }

    /// A thread that execs takes the first one's place, under the first one's parent.
    fn take_first_place(&mut self, task: u16) -> Result<(), Trouble> {
        for other in self.group(task)? {
            let first = self.task(other)?;
            if other != task && first.hand.tid == first.hand.pid {
                let parent = first.parent;
                first.replaced_by = Some(task);
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
        if let Some(before) = self.arranges.take() {
            host::arrange(&self.host, &before).ok();
        }
    }
}
