//! The system call of a patched kernel, made by the calling process itself.

use mctl_abi::Errno;

use super::{Done, Engine, EngineAdvice, EngineCall, EngineTarget, OwnProcess, answer};
use crate::backend::Trouble;
use crate::backend::stock::{fd_arg, nr, proc};

/// Where a patched kernel says which system call `mctl` is.
const ANNOUNCEMENT: &str = "/sys/kernel/mm/mctl/nr";

/// The number of the native call, where this kernel announces one. It is never guessed: a wrong
/// number would be some other call.
///
/// # Errors
/// `NotPossible` where it does not.
pub fn announced() -> Result<u64, Trouble> {
    let caps = mctl::HostCaps::probe_for(&[]).map_err(Trouble::broken)?;
    match caps.native.map(u64::try_from) {
        Some(Ok(number)) => Ok(number),
        _ => Err(Trouble::NotPossible(format!(
            "this kernel does not announce mctl() (in {ANNOUNCEMENT})"
        ))),
    }
}

/// The native call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Native {
    number: u64,
}

/// A descriptor of the caller, and whether it was opened for this one call.
type Opened = Result<(i32, bool), Errno>;

impl Native {
    /// On a kernel that announces it.
    ///
    /// # Errors
    /// As [`announced`].
    pub fn new() -> Result<Native, Trouble> {
        Ok(Native {
            number: announced()?,
        })
    }

    /// The descriptor by which the call names its target.
    fn open(target: EngineTarget, own: &mut dyn OwnProcess) -> Result<Opened, Trouble> {
        Ok(match target {
            EngineTarget::Own(fd) | EngineTarget::Fd(fd) => Ok((fd, false)),
            EngineTarget::Pid { pid, inode } => {
                let args = [u64::from(pid), 0, 0, 0, 0, 0];
                match answer(own.syscall(nr::PIDFD_OPEN, args)?) {
                    Err(errno) => Err(errno),
                    Ok(fd) => {
                        let fd = i32::try_from(fd).map_err(Trouble::broken)?;
                        // The number is resolved once; then it is asked who that is.
                        if proc::identity(pid)? == inode {
                            Ok((fd, true))
                        } else {
                            own.syscall(nr::CLOSE, [fd_arg(fd.into()), 0, 0, 0, 0, 0])?;
                            Err(Errno::ESRCH)
                        }
                    }
                }
            }
        })
    }

    fn on_target(
        target: EngineTarget,
        own: &mut dyn OwnProcess,
        call: impl FnOnce(u64, &mut dyn OwnProcess) -> Result<i64, Trouble>,
    ) -> Result<Done, Trouble> {
        let (fd, opened) = match Native::open(target, own)? {
            Ok(opened) => opened,
            Err(errno) => return Ok(Done::plain(Err(errno))),
        };
        let result = call(fd_arg(fd.into()), own)?;
        if opened {
            own.syscall(nr::CLOSE, [fd_arg(fd.into()), 0, 0, 0, 0, 0])?;
        }
        Ok(Done::plain(answer(result)))
    }
}

impl Engine for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn begin(&mut self, _best_effort: bool) {}

    fn knows_best_effort(&self) -> bool {
        false
    }

    fn mctl(&mut self, call: &EngineCall, own: &mut dyn OwnProcess) -> Result<Done, Trouble> {
        if call.how.owner_rule {
            let why = "the system call knows the admin rule only; the owner rule is the library's";
            return Err(Trouble::NotPossible(why.to_owned()));
        }
        let action = fd_arg(call.action.into());
        let number = self.number;
        Native::on_target(call.target, own, |fd, own| {
            own.syscall(number, [fd, action, u64::from(call.flags), 0, 0, 0])
        })
    }

    fn process_madvise(
        &mut self,
        call: &EngineAdvice,
        own: &mut dyn OwnProcess,
    ) -> Result<Done, Trouble> {
        if call.destructive {
            let why =
                "the override for destructive advice is the library's; the system call has none";
            return Err(Trouble::NotPossible(why.to_owned()));
        }
        let (words, count, null) = match &call.entries {
            Err(count) => (Vec::new(), *count, true),
            Ok(list) => (
                list.iter()
                    .flat_map(|(start, len)| [*start, *len])
                    .collect(),
                u64::try_from(list.len()).unwrap_or(u64::MAX),
                false,
            ),
        };
        let advice = fd_arg(call.advice.raw().into());
        // process_madvise(2) knows PIDFD_SELF since Linux 6.15 only; a pidfd says the same.
        let target = match call.target {
            EngineTarget::Own(_) => EngineTarget::Pid {
                pid: call.caller.pid,
                inode: proc::identity(call.caller.pid)?,
            },
            other => other,
        };
        Native::on_target(target, own, |fd, own| {
            let scratch = own.put(&words)?;
            let vec = if null { 0 } else { scratch };
            let args = [fd, vec, count, advice, u64::from(call.flags), 0];
            own.syscall(nr::PROCESS_MADVISE, args)
        })
    }

    /// The line `Mctl:` of the status file: the mask of `MCTL_GET_POLICY` in hexadecimal. Where
    /// the kernel has no such line the task is asked.
    fn observed_policy(&mut self, tid: u32) -> Result<Option<u32>, Trouble> {
        proc::mctl_line(tid)
    }
}
