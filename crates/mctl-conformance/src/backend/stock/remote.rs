//! process_madvise(2), and the contract's extension of it by the engine.

use mctl_abi::{Errno, PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP};
use mctl_model::Madvise;

use super::calls::{answer, fd_arg};
use super::hand::order;
use super::{StockBackend, nr};
use crate::backend::engine::EngineAdvice;
use crate::backend::{Answer, Trouble};
use crate::call::{Addr, Entries, Whom};

impl StockBackend {
    pub(super) fn process_madvise(
        &mut self,
        task: u16,
        whom: Whom,
        advice: Madvise,
        flags: u32,
        list: &[(Addr, u64)],
    ) -> Result<Answer, Trouble> {
        if self.counts_as_gone(whom)? {
            return Ok(Err(Errno::ESRCH));
        }
        let (fd, close) = match whom {
            Whom::SelfThread => (i64::from(PIDFD_SELF_THREAD), None),
            Whom::SelfProcess => (i64::from(PIDFD_SELF_THREAD_GROUP), None),
            Whom::Fd(fd) => (self.fd(fd), None),
            Whom::RawFd(fd) => (i64::from(fd), None),
            Whom::Task(other) => match self.open_pidfd(task, other, 0)? {
                Ok(fd) => (fd, Some(fd)),
                Err(errno) => return Ok(Err(errno)),
            },
            Whom::Pid(..) => return Err(Trouble::broken("process_madvise(2) takes a descriptor")),
        };
        let mut orders = Vec::new();
        for (at, (addr, len)) in (0..).zip(list) {
            orders.push(order::poke(at * 2, self.places.resolve(*addr)));
            orders.push(order::poke(at * 2 + 1, *len));
        }
        let hand = &mut self.task(task)?.hand;
        let count = u64::try_from(list.len()).unwrap_or(u64::MAX);
        let args = [
            fd_arg(fd),
            hand.scratch,
            count,
            fd_arg(i64::from(advice.raw())),
            u64::from(flags),
            0,
        ];
        orders.push(order::syscall(nr::PROCESS_MADVISE, args));
        let done = answer(hand.all(&orders)?);
        self.close_after(task, close)?;
        Ok(done)
    }

    pub(super) fn pmadvise(
        &mut self,
        task: u16,
        whom: Whom,
        advice: Madvise,
        flags: u32,
        entries: &Entries,
        destructive: bool,
    ) -> Result<Answer, Trouble> {
        let (target, close) = match self.name(task, whom)? {
            Ok(named) => named,
            Err(errno) => return Ok(Err(errno)),
        };
        let call = EngineAdvice {
            caller: self.caller(task)?,
            target,
            entries: match entries {
                Entries::Null(count) => Err(*count),
                Entries::List(list) => Ok(list
                    .iter()
                    .map(|(at, len)| (self.places.resolve(*at), *len))
                    .collect()),
            },
            advice,
            flags,
            destructive,
        };
        let StockBackend { engine, tasks, .. } = self;
        let own = tasks.get_mut(usize::from(task)).and_then(Option::as_mut);
        let own = own.ok_or_else(|| Trouble::broken("the task was never started"))?;
        let done = engine.process_madvise(&call, &mut own.hand);
        self.close_after(task, close)?;
        Ok(self.heard(done?))
    }
}
