//! What the suite and a deputy say to each other: JSON, a message a datagram, over a pair of
//! sockets that keep messages apart; a descriptor may go with one.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Short, Told};
use crate::backend::Trouble;
use crate::lang::guarantee;

/// Whose credentials a deputy carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Real, effective, saved.
    pub(super) uid: [u32; 3],
    pub(super) gid: [u32; 3],
    pub(super) effective: u64,
    pub(super) permitted: u64,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub(super) no_new_privs: bool,
    /// The user namespace's link, where it is not the suite's own.
    pub(super) namespace: Option<String>,
}

/// How a target is named to a deputy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Named {
    /// The caller's own process.
    Own,
    /// By the descriptor that goes with the message.
    Sent,
    /// By a number that is no descriptor of the caller's.
    NoDescriptor(i32),
    Pid {
        pid: i32,
        inode: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    Be(Identity, i32),
    Mctl {
        caller: i32,
        target: Named,
        action: i32,
        flags: u32,
        owner_rule: bool,
        best_effort: bool,
    },
    Advise {
        caller: i32,
        target: Named,
        /// Ranges, or NULL with a count.
        entries: Result<Vec<(u64, u64)>, u64>,
        advice: i32,
        flags: u32,
        destructive: bool,
    },
    /// What a call of [`Say::Call`] came to.
    Result(i64),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Say {
    /// The caller shall make this system call on itself.
    Call(u64, [u64; 6]),
    Done {
        /// The value, or the error's number.
        value: Result<i64, i32>,
        said: Option<String>,
        short: Short,
        told: Option<Words>,
    },
}

/// An outcome in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Words {
    guarantees: [String; 4],
    exact: bool,
}

impl Words {
    pub(super) fn of(outcome: &mctl::Outcome) -> Words {
        let g = outcome.guarantees;
        Words {
            guarantees: [g.now, g.future, g.fork, g.exec].map(|part| part.word().to_owned()),
            exact: outcome.is_exact(),
        }
    }

    pub(super) fn told(&self) -> Option<Told> {
        let [now, future, fork, exec] = self.guarantees.each_ref().map(|word| guarantee(word));
        Some(Told {
            guarantees: [now?, future?, fork?, exec?],
            exact: self.exact,
        })
    }
}

/// The longest message.
const ROOM: usize = 256 << 10;

pub(super) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fd: Option<&OwnedFd>,
) -> Result<(), Trouble> {
    let text = serde_json::to_vec(message).map_err(Trouble::broken)?;
    if text.len() > ROOM {
        return Err(Trouble::broken("a message to a deputy is too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd.as_fd()]);
    if let Some(fds) = &fds
        && !control.push(SendAncillaryMessage::ScmRights(fds))
    {
        return Err(Trouble::broken("a descriptor does not fit a message"));
    }
    sendmsg(
        socket,
        &[IoSlice::new(&text)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .map(drop)
    .map_err(Trouble::broken)
}

/// The next message; `None` where the other side has ended.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
) -> Result<Option<(T, Option<OwnedFd>)>, Trouble> {
    buffer.resize(ROOM, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(Trouble::broken)?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let text = buffer.get(..got.bytes).unwrap_or_default();
    let message = serde_json::from_slice(text).map_err(Trouble::broken)?;
    Ok(Some((message, fd)))
}
