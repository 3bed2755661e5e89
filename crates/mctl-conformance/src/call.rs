//! The steps of a history: what a task does, what the world does, what is looked at.

use mctl_model::{Caps, CloneKind, Madvise, VmFlags};

/// A task's place among the names of a scenario.
pub type TaskIx = u16;
/// A region's place among the names of a scenario.
pub type RegionIx = u16;
/// A descriptor's place among the names of a scenario.
pub type FdIx = u16;
/// A file's place among the names of a scenario.
pub type FileIx = u16;

/// What an address is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// Nothing.
    Zero,
    /// A named region.
    Region(RegionIx),
    /// The page after the heap's end at the start of the process.
    Heap,
    /// The highest page of the first stack.
    Stack,
}

/// An address: a base and an offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addr {
    /// Counted from here.
    pub base: Base,
    /// Bytes.
    pub offset: u64,
}

/// How mmap(2) is told where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `MAP_FIXED_NOREPLACE`, at the region's own place.
    Noreplace,
    /// `MAP_FIXED`.
    Fixed,
    /// Anywhere: the region is then where the kernel put it.
    Anywhere,
}

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Anonymous memory.
    Anon,
    /// hugetlb pages.
    Hugetlb,
    /// A file from an offset in bytes.
    File(FileIx, u64),
}

/// Whom mctl() or process_madvise() names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// `PIDFD_SELF_THREAD`.
    SelfThread,
    /// `PIDFD_SELF_THREAD_GROUP`.
    SelfProcess,
    /// A descriptor that was opened before.
    Fd(FdIx),
    /// A number as a descriptor.
    RawFd(i32),
    /// A task: a pidfd is opened for this one call.
    Task(TaskIx),
    /// A task by its number, and whether the identity given with it is right.
    Pid(TaskIx, bool),
}

/// Which prctl(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prctl {
    /// `PR_SET_THP_DISABLE`.
    SetThpDisable,
    /// `PR_GET_THP_DISABLE`.
    GetThpDisable,
    /// `PR_SET_MEMORY_MERGE`.
    SetMemoryMerge,
    /// `PR_GET_MEMORY_MERGE`.
    GetMemoryMerge,
    /// `PR_SET_NO_NEW_PRIVS`.
    SetNoNewPrivs,
    /// `PR_GET_NO_NEW_PRIVS`.
    GetNoNewPrivs,
    /// `PR_SET_DUMPABLE`.
    SetDumpable,
}

impl Prctl {
    /// Every one with its word and number.
    pub const ALL: [(Prctl, &'static str, u64); 7] = [
        (Prctl::SetThpDisable, "thp-disable", 41),
        (Prctl::GetThpDisable, "get-thp-disable", 42),
        (Prctl::SetMemoryMerge, "memory-merge", 67),
        (Prctl::GetMemoryMerge, "get-memory-merge", 68),
        (Prctl::SetNoNewPrivs, "no-new-privs", 38),
        (Prctl::GetNoNewPrivs, "get-no-new-privs", 39),
        (Prctl::SetDumpable, "dumpable", 4),
    ];
}

/// How mctl is asked for, beside its arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// By the owner rule.
    pub owner_rule: bool,
    /// As far as it can be had, and not exactly or not at all.
    pub best_effort: bool,
}

/// The entries of process_madvise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entries {
    /// NULL, with this count.
    Null(u64),
    /// Ranges.
    List(Vec<(Addr, u64)>),
}

/// What a task does. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// mmap(2).
    Map {
        /// The region that gets the name.
        region: RegionIx,
        /// Where, if not at the region's own place.
        at: Option<Addr>,
        /// Size.
        len: u64,
        /// `READ`, `WRITE`, `EXEC`.
        prot: VmFlags,
        /// `MAP_SHARED`.
        shared: bool,
        /// How it is placed.
        place: Place,
        /// `MAP_GROWSDOWN`.
        growsdown: bool,
        /// `MAP_LOCKED`.
        locked: bool,
        /// `MAP_POPULATE`.
        populate: bool,
        /// `MAP_NORESERVE`.
        noreserve: bool,
        /// `MAP_STACK`.
        stack: bool,
        /// What.
        source: Source,
    },
    /// munmap(2).
    Unmap(Addr, u64),
    /// mprotect(2); the last is `PROT_GROWSDOWN`.
    Protect(Addr, u64, VmFlags, bool),
    /// mremap(2).
    Remap {
        /// Old address.
        at: Addr,
        /// Old size.
        old: u64,
        /// New size.
        new: u64,
        /// `MREMAP_MAYMOVE`.
        maymove: bool,
        /// `MREMAP_FIXED` and the new address.
        to: Option<Addr>,
        /// `MREMAP_DONTUNMAP`.
        dontunmap: bool,
        /// The region that the result gets the name of.
        result: Option<RegionIx>,
    },
    /// brk(2). The answer is 0 where the heap then ends there, else `ENOMEM`.
    Brk(Addr),
    /// madvise(2).
    Madvise(Addr, u64, Madvise),
    /// mlock(2).
    Lock(Addr, u64),
    /// mlock2(2) with its flags.
    Lock2(Addr, u64, u32),
    /// munlock(2).
    Unlock(Addr, u64),
    /// mlockall(2) with its flags.
    LockAll(u32),
    /// munlockall(2).
    UnlockAll,
    /// A load from, or a store to, every page. `EFAULT` for SIGSEGV, `ENXIO` for SIGBUS.
    Touch(Addr, u64, bool),
    /// fork(2) and its kin.
    Clone(CloneKind, TaskIx),
    /// execve(2) of the same program.
    Exec {
        /// With the set-user-id bit, owned by this user.
        set_uid: Option<u32>,
        /// By a script (on which the bit would be).
        script: bool,
    },
    /// exit_group(2).
    Exit,
    /// exit(2) of one thread.
    ExitThread,
    /// wait(2) for a child.
    Wait(TaskIx),
    /// kill(2).
    Kill(TaskIx, i32),
    /// pidfd_open(2) with its flags.
    PidfdOpen(FdIx, TaskIx, u32),
    /// Opens something that is no pidfd.
    OpenOther(FdIx),
    /// close(2).
    Close(FdIx),
    /// mctl() by numbers, and how it is asked for.
    Mctl(Whom, i32, u32, How),
    /// prctl(2).
    Prctl(Prctl, [u64; 4]),
    /// mmap(2), until only so many more mappings may be made.
    FillMappings(u64),
    /// setrlimit(RLIMIT_MEMLOCK).
    Memlock(u64),
    /// setresuid(2), setresgid(2) and capset(2).
    Become(u32, Caps),
    /// unshare(CLONE_NEWUSER).
    UnshareUser,
    /// process_madvise(2).
    ProcessMadvise(Whom, Madvise, u32, Vec<(Addr, u64)>),
    /// The contract's `mctl_process_madvise`: target, advice, flags, entries, override.
    Pmadvise(Whom, Madvise, u32, Entries, bool),
    /// read(2) of pages of a file: first page, count.
    ReadFile(FileIx, u64, u64),
}

/// Whether a task lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Alive,
    /// It is dead and not waited for.
    Zombie,
    /// Nothing is left of it.
    Gone,
}

impl Life {
    /// Every state with its word.
    pub const ALL: [(Life, &'static str); 3] = [
        (Life::Alive, "alive"),
        (Life::Zombie, "zombie"),
        (Life::Gone, "gone"),
    ];
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The mapping at an address has these flags and lacks those.
    Vma(TaskIx, Addr, VmFlags, VmFlags),
    /// Nothing is mapped in the range (false: all of it is mapped).
    Unmapped(TaskIx, Addr, u64, bool),
    /// Resident bytes of the mappings that make up the range.
    Rss(TaskIx, Addr, u64, u64),
    /// Bytes mapped huge.
    Huge(TaskIx, Addr, u64, u64),
    /// `THPeligible` of the mapping at an address.
    Eligible(TaskIx, Addr, bool),
    /// `VmLck`.
    Locked(TaskIx, u64),
    /// Locked bytes of the mappings that make up the range.
    LockedIn(TaskIx, Addr, u64, u64),
    /// `THP_enabled`.
    ThpEnabled(TaskIx, bool),
    /// The mask that `MCTL_GET_POLICY` returns.
    Policy(TaskIx, u32),
    /// Whether it lives.
    Life(TaskIx, Life),
    /// Bytes of the range that are in swap.
    Swapped(TaskIx, Addr, u64, u64),
    /// Bytes of the range that are dirty.
    Dirty(TaskIx, Addr, u64, u64),
    /// Bytes of the range that are young.
    Young(TaskIx, Addr, u64, u64),
    /// A file's folios on the active and on the inactive list.
    Folios(FileIx, u64, u64),
    /// How often a file's pages came back.
    Refaults(FileIx, u64),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A process starts: user, capabilities, RLIMIT_MEMLOCK.
    Spawn {
        /// Its name.
        task: TaskIx,
        /// User and group.
        uid: u32,
        /// Capabilities.
        caps: Caps,
        /// RLIMIT_MEMLOCK in bytes; `u64::MAX` is none.
        memlock: u64,
        /// A kernel thread.
        kernel: bool,
    },
    /// A file comes into being.
    File {
        /// Its name.
        file: FileIx,
        /// Size in bytes.
        len: u64,
        /// tmpfs.
        shmem: bool,
        /// Opened read-only.
        readonly: bool,
    },
    /// Memory pressure: this many folios are looked at.
    Reclaim(u64),
    /// The next process gets the number that this dead task had.
    Recycle(TaskIx),
    /// A task does something.
    Do(TaskIx, Call),
    /// Something is looked at.
    Expect(Look),
}
