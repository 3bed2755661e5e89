//! The model's calls that name somebody.

use mctl_abi::Errno;
use mctl_model::{IdType, Rule, Target, TaskId, WholeOrVec};

use super::model::{ModelBackend, number};
use super::{Answer, Trouble};
use crate::call::{Call, Entries, How, Whom};

impl ModelBackend {
    /// The target of a call, and the descriptor to be closed after it.
    fn target(&mut self, caller: TaskId, whom: Whom) -> Result<Result<Meant, Errno>, Trouble> {
        Ok(Ok(match whom {
            Whom::SelfThread => Meant::fd(mctl_abi::PIDFD_SELF_THREAD),
            Whom::SelfProcess => Meant::fd(mctl_abi::PIDFD_SELF_THREAD_GROUP),
            Whom::Fd(fd) => Meant::fd(self.fd(fd)),
            Whom::RawFd(fd) => Meant::fd(fd),
            Whom::Task(task) => {
                let (pid, _) = self.pid(task)?;
                match self.model.pidfd_open(caller, i64::from(pid), 0) {
                    Ok(fd) => Meant {
                        target: Target::Fd(fd),
                        close: Some(fd),
                    },
                    Err(errno) => return Ok(Err(errno)),
                }
            }
            Whom::Pid(task, right) => {
                let (pid, inode) = self.pid(task)?;
                let inode = if right { inode } else { inode + 1 };
                Meant {
                    target: Target::Pid(pid, Some(inode)),
                    close: None,
                }
            }
        }))
    }

    pub(super) fn mctl(
        &mut self,
        caller: TaskId,
        whom: Whom,
        action: i32,
        flags: u32,
        how: How,
    ) -> Result<Answer, Trouble> {
        let meant = match self.target(caller, whom)? {
            Ok(meant) => meant,
            Err(errno) => return Ok(Err(errno)),
        };
        let rule = if how.owner_rule {
            Rule::Owner
        } else {
            Rule::Admin
        };
        let answer = if self.stock {
            self.stock_mctl(caller, meant.target, action, flags, how)
        } else {
            self.model.mctl(caller, meant.target, action, flags, rule)
        };
        self.close_after(caller, meant);
        Ok(answer.map(i64::from))
    }

    fn close_after(&mut self, caller: TaskId, meant: Meant) {
        if let Some(fd) = meant.close {
            self.model.close(caller, fd).ok();
        }
    }

    pub(super) fn advise_other(&mut self, caller: TaskId, call: &Call) -> Result<Answer, Trouble> {
        let (whom, advice) = match call {
            Call::ProcessMadvise(whom, advice, ..) | Call::Pmadvise(whom, advice, ..) => {
                (*whom, *advice)
            }
            _ => return Err(Trouble::broken("not an advice")),
        };
        let meant = match self.target(caller, whom)? {
            Ok(meant) => meant,
            Err(errno) => return Ok(Err(errno)),
        };
        let answer = match call {
            Call::ProcessMadvise(_, _, flags, list) => {
                let Target::Fd(fd) = meant.target else {
                    return Err(Trouble::broken("process_madvise(2) takes a descriptor"));
                };
                let vec = self.vec(list);
                self.model.process_madvise(caller, fd, &vec, advice, *flags)
            }
            Call::Pmadvise(_, _, flags, entries, destructive) => {
                let (kind, id) = match meant.target {
                    Target::Fd(fd) => (IdType::Pidfd, i64::from(fd)),
                    Target::Pid(pid, inode) => (IdType::Pid { inode }, i64::from(pid)),
                };
                let vec = match entries {
                    Entries::Null(count) => WholeOrVec::Null(*count),
                    Entries::List(list) => WholeOrVec::Vec(self.vec(list)),
                };
                self.model
                    .mctl_process_madvise(caller, kind, id, &vec, advice, *flags, *destructive)
                    .map(|outcome| outcome.bytes)
            }
            _ => Err(Errno::EINVAL),
        };
        self.close_after(caller, meant);
        Ok(answer.map(number))
    }
}

/// A resolved target.
#[derive(Clone, Copy)]
struct Meant {
    target: Target,
    close: Option<i32>,
}

impl Meant {
    fn fd(fd: i32) -> Meant {
        Meant {
            target: Target::Fd(fd),
            close: None,
        }
    }
}
