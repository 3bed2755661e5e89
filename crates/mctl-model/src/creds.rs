//! Credentials and user namespaces.

use mctl_abi::permission::Ids;

use crate::ids::NsId;

/// A set of capabilities: the ones that the contract's rules ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caps(u8);

impl Caps {
    /// None.
    pub const NONE: Caps = Caps(0);
    /// `CAP_SYS_ADMIN`.
    pub const SYS_ADMIN: Caps = Caps(1);
    /// `CAP_SYS_PTRACE`.
    pub const SYS_PTRACE: Caps = Caps(1 << 1);
    /// `CAP_SYS_NICE`.
    pub const SYS_NICE: Caps = Caps(1 << 2);
    /// `CAP_IPC_LOCK`.
    pub const IPC_LOCK: Caps = Caps(1 << 3);
    /// `CAP_SETUID`.
    pub const SETUID: Caps = Caps(1 << 4);
    /// `CAP_KILL`.
    pub const KILL: Caps = Caps(1 << 5);
    /// `CAP_SYS_RAWIO`.
    pub const SYS_RAWIO: Caps = Caps(1 << 6);
    /// Every capability.
    pub const FULL: Caps = Caps(0x7f);

    /// Every capability with its name in small letters.
    pub const ALL: [(Caps, &'static str); 7] = [
        (Caps::SYS_ADMIN, "sys_admin"),
        (Caps::SYS_PTRACE, "sys_ptrace"),
        (Caps::SYS_NICE, "sys_nice"),
        (Caps::IPC_LOCK, "ipc_lock"),
        (Caps::SETUID, "setuid"),
        (Caps::KILL, "kill"),
        (Caps::SYS_RAWIO, "sys_rawio"),
    ];

    /// Whether every capability of `other` is held.
    #[must_use]
    pub const fn has(self, other: Caps) -> bool {
        self.0 & other.0 == other.0
    }

    /// What both sets have.
    #[must_use]
    pub const fn common(self, other: Caps) -> Caps {
        Caps(self.0 & other.0)
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Caps) -> Caps {
        Caps(self.0 | other.0)
    }

    /// The capability with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Caps> {
        Caps::ALL
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(cap, _)| *cap)
    }
}

/// Who a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creds {
    /// User ids.
    pub uid: Ids,
    /// Group ids.
    pub gid: Ids,
    /// Effective capabilities: what the task may do.
    pub caps: Caps,
    /// Permitted capabilities: what another task must cover to reach it.
    pub permitted: Caps,
    /// The user namespace in which `caps` counts.
    pub ns: NsId,
}

/// A user namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserNs {
    pub(crate) parent: Option<NsId>,
    /// The effective user id, in the parent, of who made it.
    pub(crate) owner: u32,
}
