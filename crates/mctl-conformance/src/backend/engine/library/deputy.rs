//! The deputy's side: takes the caller's credentials and calls the library.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use mctl::advise::{Advice, Range, call as advice_call};
use mctl::{
    Action, Errno, Error, Exactness, Flags, Guarantee, Guarantees, HostCaps, Look, OwnCalls,
    ProcessSpec, Request, Rule, Target,
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, LinkNameSpaceType, Uid, move_into_link_name_space,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_res_gid,
    set_thread_res_uid,
};

use super::super::Short;
use super::super::wire::{Identity, Named, Order, Say, Words, receive, send};
use crate::backend::Trouble;
use crate::backend::stock::nr;

/// What one order came to.
struct Outcome {
    value: i64,
    said: Option<String>,
    short: Short,
    told: Option<Words>,
}

/// Serves orders from the standard input until it is closed. For the program that is started
/// with [`DEPUTY`](super::DEPUTY) as its argument.
///
/// # Errors
/// The standard input is no such socket.
pub fn serve() -> Result<(), Trouble> {
    let socket = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(Trouble::broken)?;
    let mut buffer = Vec::new();
    while let Some((order, fd)) = receive::<Order>(socket.as_fd(), &mut buffer)? {
        let say = match obey(&order, fd, &socket) {
            Ok(outcome) => Say::Done {
                value: Ok(outcome.value),
                said: outcome.said,
                short: outcome.short,
                told: outcome.told,
            },
            Err(error) => Say::Done {
                value: Err(error.errno().raw()),
                said: Some(error.to_string()),
                short: Short::Nowhere,
                told: None,
            },
        };
        send(socket.as_fd(), &say, None)?;
    }
    Ok(())
}

fn obey(order: &Order, fd: Option<OwnedFd>, socket: &OwnedFd) -> mctl::Result<Outcome> {
    match order {
        Order::Be(identity, tid) => {
            become_(identity, *tid).map_err(|errno| Error::Read {
                what: "the caller's credentials".to_owned(),
                why: "a deputy cannot take them".to_owned(),
                errno: Errno::from_raw(errno.raw_os_error()),
            })?;
            Ok(exactly(0))
        }
        Order::Mctl {
            caller,
            target,
            action,
            flags,
            owner_rule,
            best_effort,
        } => {
            let call = mctl::decode(*action, *flags)?;
            let target = resolve(*target, fd, *caller, socket)?;
            let rule = if *owner_rule {
                Rule::Owner
            } else {
                Rule::Admin
            };
            if call.action() == Action::GetPolicy {
                return Ok(exactly(i64::from(mctl::policy_mask(
                    &target,
                    rule,
                    Look::Proc,
                )?)));
            }
            let mut request = Request::from_call(call)?;
            request.rule = rule;
            if *best_effort {
                request.exactness = Exactness::BestEffort;
            }
            let caps = HostCaps::probe_for(&request.kinds())?;
            let outcome = mctl::apply(&request, &target, &caps)?;
            let notes: Vec<String> = outcome.notes.iter().map(ToString::to_string).collect();
            Ok(Outcome {
                value: 0,
                said: (!notes.is_empty()).then(|| notes.join("; ")),
                short: short(&outcome),
                told: Some(Words::of(&outcome)),
            })
        }
        Order::Advise {
            caller,
            target,
            entries,
            advice,
            flags,
            destructive,
        } => {
            let ranges = match entries {
                Ok(list) => Some(
                    list.iter()
                        .map(|(start, len)| Range {
                            start: *start,
                            len: *len,
                        })
                        .collect(),
                ),
                Err(u64::MAX) => None,
                Err(_) => Some(Vec::new()),
            };
            let ranges: Option<Vec<Range>> = ranges;
            let mut advise = advice_call(ranges.as_deref(), Advice::from_number(*advice), *flags)?;
            if entries
                .as_ref()
                .is_err_and(|count| !matches!(*count, 0 | u64::MAX))
            {
                // As the C library finds it, reading the vector.
                return Err(Error::Read {
                    what: "the vector".to_owned(),
                    why: "bad address".to_owned(),
                    errno: Errno::EFAULT,
                });
            }
            if *destructive {
                advise = advise.allow_destructive();
            }
            let target = resolve(*target, fd, *caller, socket)?;
            let advised = advise.give(&target)?;
            let value = advised.as_syscall().map_err(|errno| Error::TargetCall {
                pid: target.pid(),
                call: "madvise",
                errno,
            })?;
            Ok(exactly(i64::try_from(value).unwrap_or(i64::MAX)))
        }
        Order::Result(_) => Err(Error::Invalid {
            why: "a result that nobody asked for".to_owned(),
        }),
    }
}

fn short(outcome: &mctl::Outcome) -> Short {
    let Guarantees {
        now, future, fork, ..
    } = outcome.guarantees;
    if outcome.is_exact() {
        Short::Nowhere
    } else if [now, future, fork] == [Guarantee::Enforced; 3] {
        Short::AtExec
    } else {
        Short::Elsewhere
    }
}

fn exactly(value: i64) -> Outcome {
    Outcome {
        value,
        said: None,
        short: Short::Nowhere,
        told: None,
    }
}

fn resolve(
    named: Named,
    fd: Option<OwnedFd>,
    caller: i32,
    socket: &OwnedFd,
) -> mctl::Result<Target> {
    let open = |pid, inode| Target::open(ProcessSpec { pid, inode });
    let target = match (named, fd) {
        (Named::Own, _) => open(caller, None)?,
        (Named::Pid { pid, inode }, _) => open(pid, Some(inode))?,
        (Named::Sent, Some(fd)) => Target::from_pidfd(fd)?,
        // Our own descriptors are not the caller's.
        (Named::NoDescriptor(number), _) => Target::from_raw(number.min(-1))?,
        (Named::Sent, None) => Target::from_raw(-1)?,
    };
    if target.pid() != caller {
        return Ok(target);
    }
    let socket = socket.try_clone().map_err(|error| Error::Read {
        what: "the suite's socket".to_owned(),
        why: error.to_string(),
        errno: Errno::EMFILE,
    })?;
    Ok(target.as_principal(Box::new(ByCaller(Mutex::new(socket)))))
}

/// The caller's calls on itself: the suite has the caller make them.
#[derive(Debug)]
struct ByCaller(Mutex<OwnedFd>);

impl ByCaller {
    fn call(&self, number: u64, args: [u64; 6]) -> Result<i64, Errno> {
        let socket = self.0.lock().map_err(|_| Errno::EIO)?;
        match ask(socket.as_fd(), number, args) {
            Ok(result) if result < 0 => {
                Err(i32::try_from(-result).map_or(Errno::EIO, Errno::from_raw))
            }
            Ok(result) => Ok(result),
            Err(_) => Err(Errno::EIO),
        }
    }
}

fn ask(socket: BorrowedFd<'_>, number: u64, args: [u64; 6]) -> Result<i64, Trouble> {
    send(socket, &Say::Call(number, args), None)?;
    match receive::<Order>(socket, &mut Vec::new())? {
        Some((Order::Result(result), _)) => Ok(result),
        _ => Err(Trouble::broken("no result came")),
    }
}

impl OwnCalls for ByCaller {
    fn prctl(&self, option: u64, args: [u64; 4]) -> Result<i64, Errno> {
        let [a, b, c, d] = args;
        self.call(nr::PRCTL, [option, a, b, c, d, 0])
    }

    fn mctl(&self, number: i32, action: Action, flags: Flags) -> Result<u32, Errno> {
        let word = |value: i32| u64::from_ne_bytes(i64::from(value).to_ne_bytes());
        let args = [
            word(mctl_abi::PIDFD_SELF_THREAD_GROUP),
            word(action.number()),
            u64::from(flags.bits()),
            0,
            0,
            0,
        ];
        let result = self.call(word(number), args)?;
        u32::try_from(result).map_err(|_| Errno::EIO)
    }

    fn madvise(&self, range: Range, advice: i32) -> Result<(), Errno> {
        let advice = u64::from_ne_bytes(i64::from(advice).to_ne_bytes());
        self.call(nr::MADVISE, [range.start, range.len, advice, 0, 0, 0])
            .map(drop)
    }
}

/// Takes credentials. Only ever fewer than the suite's own.
fn become_(identity: &Identity, tid: i32) -> Result<(), rustix::io::Errno> {
    let namespace = match identity.namespace {
        // Opened as long as we may.
        Some(_) => Some(rustix::fs::open(
            format!("/proc/{tid}/ns/user"),
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?),
        None => None,
    };
    set_keep_capabilities(true)?;
    let [real, effective, saved] = identity.gid.map(Gid::from_raw);
    set_thread_res_gid(real, effective, saved)?;
    let [real, effective, saved] = identity.uid.map(Uid::from_raw);
    set_thread_res_uid(real, effective, saved)?;
    if let Some(namespace) = namespace {
        let mine = rustix::thread::capabilities(None)?;
        set_capabilities(
            None,
            CapabilitySets {
                effective: mine.permitted,
                ..mine
            },
        )?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))?;
    }
    let caps = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(identity.effective),
        permitted: CapabilitySet::from_bits_retain(identity.permitted),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, caps)?;
    if identity.no_new_privs {
        set_no_new_privs(true)?;
    }
    // A change of credentials takes our own files in /proc from us, which the caller's are not.
    set_dumpable_behavior(DumpableBehavior::Dumpable)
}
