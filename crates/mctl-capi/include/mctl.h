/* mctl.h: memory policy for whole processes on Linux (libmctl).
 *
 * Made from the action table and src/calls.rs by
 * `cargo run -p mctl-capi --example gen_header`; do not edit.
 *
 * Link with -lmctl, or as `pkg-config --cflags --libs mctl` says.
 *
 * Errors: like a system call. -1 and errno on failure; errno is left alone on success.
 * mctl_last_detail() has the reason in words.
 *
 * Threads: every function may be called from any thread at any time.
 *
 * fork(2): nothing is cached about the process, so a child's calls concern the child. In the
 * child of a program with several threads, what holds for malloc(3) holds for this library.
 *
 * Signal handlers: mctl_version() is async-signal-safe. mctl(), mctl_call(), mctl_get_policy(),
 * mctl_outcome(), mctl_tree(), mctl_cgroup(), mctl_coverage(), mctl_save(), mctl_restore(),
 * mctl_process_madvise() and mctl_last_detail() are NOT: they allocate memory.
 * Do not longjmp(3) out of a handler that interrupted one of them, and do not call them from
 * within an implementation of malloc.
 *
 * Cancellation: no function is a cancellation point.
 *
 * Names: include this header after those of the system; what they define already is left as it
 * is. Where libc declares an `mctl` of its own, define MCTL_NO_SHORT_NAMES before including this
 * header and call mctl_call(): all else begins with mctl_, MCTL_ or PMADV_.
 */

#ifndef MCTL_H
#define MCTL_H


#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h> /* P_PID, P_PIDFD */

/* The version of this header; that of the library is mctl_version(). */
#define MCTL_VERSION_MAJOR 0
#define MCTL_VERSION_MINOR 1
#define MCTL_VERSION_PATCH 0
#define MCTL_VERSION (MCTL_VERSION_MAJOR << 16 | MCTL_VERSION_MINOR << 8 | MCTL_VERSION_PATCH)

/* Actions of mctl(). 0 is none. */
/* allow huge pages everywhere but where the host or the program forbids them */
#ifndef MCTL_SET_HUGEPAGE
#define MCTL_SET_HUGEPAGE 1
#endif
/* stop allowing huge pages beyond the host's rule */
#ifndef MCTL_CLEAR_HUGEPAGE
#define MCTL_CLEAR_HUGEPAGE 2
#endif
/* make no huge pages */
#ifndef MCTL_SET_NOHUGEPAGE
#define MCTL_SET_NOHUGEPAGE 3
#endif
/* return to the host's rule on huge pages */
#ifndef MCTL_CLEAR_NOHUGEPAGE
#define MCTL_CLEAR_NOHUGEPAGE 4
#endif
/* let the file pages that only this process mapped be reclaimed first after its death */
#ifndef MCTL_SET_FADE_ON_DEATH
#define MCTL_SET_FADE_ON_DEATH 5
#endif
/* treat its file pages like anyone's after its death */
#ifndef MCTL_CLEAR_FADE_ON_DEATH
#define MCTL_CLEAR_FADE_ON_DEATH 6
#endif
/* let KSM merge equal pages in every compatible mapping */
#ifndef MCTL_SET_MERGEABLE
#define MCTL_SET_MERGEABLE 7
#endif
/* stop merging and unmerge what was merged */
#ifndef MCTL_CLEAR_MERGEABLE
#define MCTL_CLEAR_MERGEABLE 8
#endif
/* make huge pages only where the program asked for them */
#ifndef MCTL_SET_HUGEPAGE_ADVISED
#define MCTL_SET_HUGEPAGE_ADVISED 9
#endif
/* return to the host's rule on huge pages */
#ifndef MCTL_CLEAR_HUGEPAGE_ADVISED
#define MCTL_CLEAR_HUGEPAGE_ADVISED 10
#endif
/* return the policies in force as a mask */
#ifndef MCTL_GET_POLICY
#define MCTL_GET_POLICY 256
#endif

/* Flags of mctl(). */
/* the policy is also the default across exec */
#ifndef MCTL_SET_DEFAULT_EXEC
#define MCTL_SET_DEFAULT_EXEC 1u
#endif

/* Bits of what MCTL_GET_POLICY and mctl_get_policy() return. */
#ifndef MCTL_POLICY_HUGEPAGE
#define MCTL_POLICY_HUGEPAGE 1
#endif
#ifndef MCTL_POLICY_NOHUGEPAGE
#define MCTL_POLICY_NOHUGEPAGE 2
#endif
#ifndef MCTL_POLICY_FADE_ON_DEATH
#define MCTL_POLICY_FADE_ON_DEATH 4
#endif
#ifndef MCTL_POLICY_MERGEABLE
#define MCTL_POLICY_MERGEABLE 8
#endif
#ifndef MCTL_POLICY_HUGEPAGE_ADVISED
#define MCTL_POLICY_HUGEPAGE_ADVISED 16
#endif
/* the same policy is also the default across exec */
#ifndef MCTL_POLICY_ACROSS_EXEC
#define MCTL_POLICY_ACROSS_EXEC(policy) ((policy) << 8)
#endif

/* Options of mctl_outcome(). */
/* as much as can be done, instead of exactly or not at all */
#ifndef MCTL_BEST_EFFORT
#define MCTL_BEST_EFFORT 1u
#endif
/* who may ptrace the target may, as with renice(1); else CAP_SYS_ADMIN */
#ifndef MCTL_OWNER_RULE
#define MCTL_OWNER_RULE 2u
#endif
/* NOHUGEPAGE mappings too; only with MCTL_BEST_EFFORT */
#ifndef MCTL_OVERRIDE_ADVICE
#define MCTL_OVERRIDE_ADVICE 4u
#endif
/* say what would be done and change nothing */
#ifndef MCTL_DRY_RUN
#define MCTL_DRY_RUN 8u
#endif
/* MCTL_GET_POLICY: ask the process where /proc does not tell */
#ifndef MCTL_READ_IN_TARGET
#define MCTL_READ_IN_TARGET 16u
#endif

/* Options of mctl_tree() and mctl_cgroup(), besides those of mctl_outcome(). */
/* put back what was changed where one process fails */
#ifndef MCTL_ATOMIC
#define MCTL_ATOMIC 32u
#endif

/* Options of mctl_coverage(). */
/* mctl_last_detail() says what keeps most of the rest small */
#ifndef MCTL_WHY
#define MCTL_WHY 64u
#endif

/* Bits of flags in struct mctl_group. */
/* no process of the group is known to be left out */
#ifndef MCTL_IS_COMPLETE
#define MCTL_IS_COMPLETE 1u
#endif

/* Guarantees: now, future, on_fork and on_exec in struct mctl_outcome. */
/* the kernel itself sees to it */
#ifndef MCTL_ENFORCED
#define MCTL_ENFORCED 1u
#endif
/* reserved: no version of this library says so yet */
#ifndef MCTL_SUPERVISED
#define MCTL_SUPERVISED 2u
#endif
/* reserved: no version of this library says so yet */
#ifndef MCTL_EVENTUAL
#define MCTL_EVENTUAL 3u
#endif
/* it does not hold */
#ifndef MCTL_NOT_COVERED
#define MCTL_NOT_COVERED 4u
#endif
/* it reaches further than asked: it also survives exec */
#ifndef MCTL_EXCEEDS
#define MCTL_EXCEEDS 5u
#endif

/* Bits of mechanisms in struct mctl_outcome. */
/* prctl(2) by the process itself */
#ifndef MCTL_BY_OWN_PRCTL
#define MCTL_BY_OWN_PRCTL 1u
#endif
/* prctl(2), run in the target */
#ifndef MCTL_BY_INJECTED_PRCTL
#define MCTL_BY_INJECTED_PRCTL 2u
#endif
/* madvise(2) by the process itself */
#ifndef MCTL_BY_OWN_MADVISE
#define MCTL_BY_OWN_MADVISE 4u
#endif
/* madvise(2), run in the target */
#ifndef MCTL_BY_INJECTED_MADVISE
#define MCTL_BY_INJECTED_MADVISE 8u
#endif
/* nothing had to be done */
#ifndef MCTL_BY_NOTHING
#define MCTL_BY_NOTHING 16u
#endif
/* the kernel's own mctl() */
#ifndef MCTL_BY_NATIVE_CALL
#define MCTL_BY_NATIVE_CALL 32u
#endif
/* the kernel's own mctl(), run in the target */
#ifndef MCTL_BY_INJECTED_NATIVE_CALL
#define MCTL_BY_INJECTED_NATIVE_CALL 64u
#endif
/* a mechanism newer than this header */
#ifndef MCTL_BY_OTHER
#define MCTL_BY_OTHER 0x80000000u
#endif

/* Bits of flags in struct mctl_outcome. */
/* all four guarantees match the contract */
#ifndef MCTL_IS_EXACT
#define MCTL_IS_EXACT 1u
#endif
/* something was different afterwards */
#ifndef MCTL_HAS_CHANGED
#define MCTL_HAS_CHANGED 2u
#endif
/* the policy went by mapping: the counts are filled in */
#ifndef MCTL_HAS_MAPPINGS
#define MCTL_HAS_MAPPINGS 4u
#endif

/* Bits of notes in struct mctl_outcome. */
/* holds only while a knob of the host stays as it is */
#ifndef MCTL_NOTE_HOST_KNOB
#define MCTL_NOTE_HOST_KNOB 1u
#endif
/* programs that it executes keep the policy */
#ifndef MCTL_NOTE_SURVIVES_EXEC
#define MCTL_NOTE_SURVIVES_EXEC 2u
#endif
/* memory that it maps later is not covered */
#ifndef MCTL_NOTE_FUTURE_MAPPINGS
#define MCTL_NOTE_FUTURE_MAPPINGS 4u
#endif
/* a program that it executes starts without it */
#ifndef MCTL_NOTE_LOST_AT_EXEC
#define MCTL_NOTE_LOST_AT_EXEC 8u
#endif
/* pages that are there stay small until khugepaged comes by */
#ifndef MCTL_NOTE_POPULATED
#define MCTL_NOTE_POPULATED 16u
#endif
/* mappings keep advice that madvise cannot take off */
#ifndef MCTL_NOTE_RESIDUAL
#define MCTL_NOTE_RESIDUAL 32u
#endif
/* nothing is merged for now */
#ifndef MCTL_NOTE_KSM_NOT_RUNNING
#define MCTL_NOTE_KSM_NOT_RUNNING 64u
#endif
/* one thread waits while its resident memory is walked */
#ifndef MCTL_NOTE_UNMERGE_WALKS
#define MCTL_NOTE_UNMERGE_WALKS 128u
#endif
/* a call of the target may be seen late or short */
#ifndef MCTL_NOTE_DISTURBED
#define MCTL_NOTE_DISTURBED 256u
#endif
/* no effect while the host forbids huge pages */
#ifndef MCTL_NOTE_HOST_FORBIDS
#define MCTL_NOTE_HOST_FORBIDS 512u
#endif
/* the process's PR_SET_THP_DISABLE is stricter */
#ifndef MCTL_NOTE_HELD_BACK
#define MCTL_NOTE_HELD_BACK 1024u
#endif
/* by prctl(2), though the kernel has mctl() */
#ifndef MCTL_NOTE_BY_SWITCH
#define MCTL_NOTE_BY_SWITCH 2048u
#endif
/* mappings lost NOHUGEPAGE for good */
#ifndef MCTL_NOTE_OVERRIDDEN
#define MCTL_NOTE_OVERRIDDEN 4096u
#endif
/* another one: see mctl_last_detail() */
#ifndef MCTL_NOTE_OTHER
#define MCTL_NOTE_OTHER 0x80000000u
#endif

/* Flags of mctl_process_madvise(). */
/* pass over a mapping that fails and go on */
#ifndef PMADV_SKIP_ERRORS
#define PMADV_SKIP_ERRORS 1u
#endif
/* gaps are no error */
#ifndef PMADV_NO_ERROR_ON_UNMAPPED
#define PMADV_NO_ERROR_ON_UNMAPPED 2u
#endif
/* also the default for the address space, across fork and exec */
#ifndef PMADV_SET_FORK_EXEC_DEFAULT
#define PMADV_SET_FORK_EXEC_DEFAULT 4u
#endif
/* every mapping; vec is NULL, vlen (size_t)-1 */
#ifndef PMADV_ENTIRE_ADDRESS_SPACE
#define PMADV_ENTIRE_ADDRESS_SPACE 8u
#endif
/* these three only all together: */
#ifndef PMADV_SET_DEFAULT
#define PMADV_SET_DEFAULT 16u
#endif
/* they are then */
#ifndef PMADV_INHERIT_FORK
#define PMADV_INHERIT_FORK 32u
#endif
/* PMADV_SET_FORK_EXEC_DEFAULT */
#ifndef PMADV_INHERIT_EXEC
#define PMADV_INHERIT_EXEC 64u
#endif

/* The calling process without a descriptor, spelt as in <linux/pidfd.h> (Linux 6.14).
 * This library knows them on every kernel. */
#ifndef PIDFD_SELF_THREAD
#define PIDFD_SELF_THREAD -10000
#endif
#ifndef PIDFD_SELF_THREAD_GROUP
#define PIDFD_SELF_THREAD_GROUP -10001
#endif
#ifndef PIDFD_SELF
#define PIDFD_SELF PIDFD_SELF_THREAD
#endif
#ifndef PIDFD_SELF_PROCESS
#define PIDFD_SELF_PROCESS PIDFD_SELF_THREAD_GROUP
#endif


/*
 * What an operation did to one process, and how surely it holds.
 *
 * It may grow at its end. Set `size` to sizeof(struct mctl_outcome) before the call; afterwards
 * it says how many bytes this library filled in, and what is beyond is 0.
 */
struct mctl_outcome {
    /* In: the size of the structure. Out: how much of it was filled in. */
    uint32_t size;
    /* MCTL_IS_EXACT, MCTL_HAS_CHANGED, MCTL_HAS_MAPPINGS. */
    uint32_t flags;
    /*
     * Over the mappings that exist: MCTL_ENFORCED, MCTL_SUPERVISED, MCTL_EVENTUAL,
     * MCTL_NOT_COVERED or MCTL_EXCEEDS.
     */
    uint32_t now;
    /* Over mappings to come. */
    uint32_t future;
    /* In children. */
    uint32_t on_fork;
    /* In programs that it executes. */
    uint32_t on_exec;
    /* MCTL_BY_... bits. */
    uint32_t mechanisms;
    /* MCTL_NOTE_... bits. */
    uint32_t notes;
    /* PR_GET_THP_DISABLE before; -1 where it was not read. */
    int32_t thp_before;
    /* And after. */
    int32_t thp_after;
    /* PR_GET_MEMORY_MERGE before; -1 where it was not read. */
    int32_t merge_before;
    /* And after. */
    int32_t merge_after;
    /* How long one thread of the target was stopped in all, in nanoseconds. */
    uint64_t stopped_ns;
    /* Stretches of neighbouring mappings that were advised. */
    uint64_t runs;
    /* Mappings that were advised. */
    uint64_t changed;
    /* Mappings that had the advice already. */
    uint64_t already;
    /* Mappings left alone for the program's NOHUGEPAGE (thread stacks too). */
    uint64_t skipped_nohugepage;
    /* File mappings left alone. */
    uint64_t skipped_file;
    /* hugetlb, device and special mappings left alone. */
    uint64_t skipped_special;
    /* Stretches that could not be advised. */
    uint64_t failed;
    /* Mappings that keep advice that cannot be taken off. */
    uint64_t residual;
    /*
     * The policy record before, as MCTL_GET_POLICY returns it; -1 where the kernel keeps none, but
     * for MCTL_GET_POLICY itself.
     */
    int32_t policy_before;
    /* And after. */
    int32_t policy_after;
};

/*
 * How much memory a process has, and how much of it is in huge pages. All sizes are bytes.
 *
 * It may grow at its end. Set `size` to sizeof(struct mctl_coverage) before the call; afterwards
 * it says how many bytes this library filled in, and what is beyond is 0.
 */
struct mctl_coverage {
    /* In: the size of the structure. Out: how much of it was filled in. */
    uint32_t size;
    /* 0. */
    uint32_t flags;
    /* Mapped, populated or not. */
    uint64_t mapped;
    /* Present in memory; hugetlb pages are not counted. */
    uint64_t rss;
    /* The anonymous part of it. */
    uint64_t anonymous;
    /* Of that, in huge pages. */
    uint64_t anon_huge;
    /* Shared memory (tmpfs, memfd) that is present. */
    uint64_t shmem;
    /* Of that, in huge pages. */
    uint64_t shmem_huge;
    /* Pages of other files in huge pages. */
    uint64_t file_huge;
    /* hugetlb pages. */
    uint64_t hugetlb;
    /* On swap. */
    uint64_t swap;
};

/*
 * How a tree or cgroup fared.
 *
 * It may grow at its end. Set `size` to sizeof(struct mctl_group) before the call; afterwards it
 * says how many bytes this library filled in, and what is beyond is 0.
 */
struct mctl_group {
    /* In: the size of the structure. Out: how much of it was filled in. */
    uint32_t size;
    /* MCTL_IS_COMPLETE. */
    uint32_t flags;
    /* Processes that were treated, well or not. */
    uint64_t processes;
    /* Of those, the ones in which something is different now. */
    uint64_t changed;
    /* Of those, the ones that failed. */
    uint64_t failed;
    /* Processes that ended before they could be treated. */
    uint64_t ended;
    /* Processes of the cgroup that are not visible here, and ones that may be of the tree. */
    uint64_t left_out;
    /* MCTL_ATOMIC: processes that have their former state again. */
    uint64_t restored;
};

/*
 * The switches of one process at one time, and enough to know the process again. It may be copied
 * and kept, as bytes.
 *
 * It may grow at its end. Set `size` to sizeof(struct mctl_saved) before the call; afterwards it
 * says how many bytes this library filled in, and what is beyond is 0.
 */
struct mctl_saved {
    /* In: the size of the structure. Out: how much of it was filled in. */
    uint32_t size;
    /* The process number. */
    int32_t pid;
    /* The inode of its pidfd; 0 where the kernel has none (before Linux 6.9). */
    uint64_t inode;
    /* When it started, in clock ticks since boot. */
    uint64_t start_time;
    /* PR_GET_THP_DISABLE; -1 where it was not known. */
    int32_t thp_disable;
    /* PR_GET_MEMORY_MERGE; -1 where it was not known. */
    int32_t mergeable;
    /* The mask of MCTL_GET_POLICY; -1 on a kernel that keeps none. */
    int32_t record;
    /* 0. */
    uint32_t flags;
    /* What governs huge pages, in a word; empty where nothing was known. */
    char thp[32];
    /* Its command name, for people. */
    char name[32];
};

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

#ifndef MCTL_NO_SHORT_NAMES
/*
 * Sets, clears or reads a policy of a whole address space: of every mapping it has now and every
 * mapping it gets later.
 *
 * `pidfd` is a descriptor from pidfd_open(2) or clone3(2), or PIDFD_SELF, on every kernel.
 * `action` is MCTL_SET_..., MCTL_CLEAR_... or MCTL_GET_POLICY; `flags` is 0 or
 * MCTL_SET_DEFAULT_EXEC. It is done exactly or not at all.
 *
 * MCTL_GET_POLICY leaves another process alone: a kernel without the call is asked by /proc only.
 * A policy that does not show there is EOPNOTSUPP; mctl_outcome() can have it read in the process.
 *
 * Returns 0, or the mask of MCTL_POLICY_... bits for MCTL_GET_POLICY; -1 with errno: EINVAL
 * unknown action or flag; EBADF not a pidfd; ESRCH the process is gone; EPERM another process or
 * MCTL_SET_DEFAULT_EXEC without CAP_SYS_ADMIN over it; EOPNOTSUPP this kernel cannot do it
 * exactly; EBUSY the target cannot be reached now. Nothing was changed then.
 *
 * Where a thread of the target has to make the call, a moment is waited for at which it notices
 * nothing, for up to a second; EBUSY if none came.
 */
int mctl(int pidfd, int action, unsigned int flags);
#endif

/* mctl() under the name that is always there. See MCTL_NO_SHORT_NAMES. */
int mctl_call(int pidfd, int action, unsigned int flags);

/*
 * The mask of MCTL_POLICY_... bits in force: mctl_call(pidfd, MCTL_GET_POLICY, 0). Of another
 * process only what /proc tells; EOPNOTSUPP otherwise.
 */
int mctl_get_policy(int pidfd);

/*
 * As mctl_call(), and says what was done and how surely it holds.
 *
 * `options` is 0, for exactly or not at all by the rule of mctl_call(), or a set of
 * MCTL_BEST_EFFORT, MCTL_OWNER_RULE, MCTL_OVERRIDE_ADVICE and MCTL_DRY_RUN. `out->size` must be
 * set. After success mctl_last_detail() says in words what falls short of the contract; after
 * failure `out` holds zeroes but for its size.
 *
 * MCTL_GET_POLICY takes MCTL_OWNER_RULE and MCTL_READ_IN_TARGET. With the latter, what /proc does
 * not tell is read by a call in the process, one thread of which is stopped for it; EBUSY where
 * that is not possible. policy_before and policy_after are both the mask then, thp_before,
 * thp_after, merge_before and merge_after the two switches, and stopped_ns how long it was
 * stopped: 0 where /proc told all.
 *
 * Returns 0, or the mask of MCTL_POLICY_... bits for MCTL_GET_POLICY; -1 with errno as
 * mctl_call(), and EFAULT for a bad `out`, EINVAL for its size and for unknown options.
 *
 * Careful: `out` is the caller's to be written.
 */
int mctl_outcome(int pidfd,
                 int action,
                 unsigned int flags,
                 unsigned int options,
                 struct mctl_outcome *out);

/*
 * process_madvise(2) in full: any advice of madvise(2) for any process that the caller may act
 * on, for any number of ranges.
 *
 * `idtype` (an idtype_t) is P_PID or P_PIDFD, and `id` (an id_t) the number or the descriptor;
 * PIDFD_SELF is one. `advice` is MADV_..., `flags` a set of PMADV_... bits. With
 * PMADV_ENTIRE_ADDRESS_SPACE, and only with it, `vec` is NULL and `vlen` (size_t)-1.
 *
 * Advice that may lose the contents of another process's memory (MADV_DONTNEED, MADV_FREE, ...)
 * is EPERM. On the caller's own memory it is done, as by madvise(2), except to the entire address
 * space (EPERM): that would take the stack from under this very call.
 *
 * Returns the bytes advised, fewer than asked where an entry failed; -1 with errno where nothing
 * was done: EINVAL, EFAULT a bad `vec`, EBADF, ESRCH, EPERM, ENOMEM a range that is not all
 * mapped, or more to bring in than there is room for, EAGAIN a target that may have no more
 * processes, ETIMEDOUT pages that nobody serves, EBUSY, EOPNOTSUPP, and what madvise(2) answers.
 * At most 2^24 entries are taken.
 *
 * Careful: nothing in the program may depend on the ranges where the advice takes their contents
 * or access away, as with madvise(2).
 */
ssize_t mctl_process_madvise(int idtype,
                             unsigned int id,
                             const struct iovec *vec,
                             size_t vlen,
                             int advice,
                             unsigned int flags);

/*
 * What there is to say about the calling thread's last call: why it failed, or what
 * mctl_outcome() wants known. Empty if nothing; never NULL. It is the thread's own and stays as
 * it is until the thread's next call; copy it to keep it. In English, one line.
 */
const char *mctl_last_detail(void);

/* The version of the library that is running, as MCTL_VERSION. */
int mctl_version(void);

/*
 * How much memory a process has, and how much of it is in huge pages. The process is left alone:
 * /proc is read.
 *
 * `pidfd` is as for mctl_call(); `options` is 0 or MCTL_WHY. With the latter, which costs as much
 * as reading /proc/PID/smaps, mctl_last_detail() says after success what keeps most of the rest
 * in small pages, and what would change it; it is empty where there is no rest.
 *
 * Returns 0; -1 with errno: EBADF, ESRCH, EACCES or EPERM a process of somebody else, EFAULT a
 * bad `out`, EINVAL its size or unknown options. `out` holds zeroes but for its size then.
 *
 * Careful: `out` is the caller's to be written.
 */
int mctl_coverage(int pidfd, unsigned int options, struct mctl_coverage *out);

/*
 * As mctl_outcome(), for a process and all its descendants, also those that it forks meanwhile.
 * The calling process is passed over where it is one of the descendants.
 *
 * `action` is MCTL_SET_... or MCTL_CLEAR_...; `options` is 0 or a set of MCTL_BEST_EFFORT,
 * MCTL_OWNER_RULE, MCTL_OVERRIDE_ADVICE and MCTL_ATOMIC. `out->size` must be set.
 *
 * Returns 0 where every process that lives has what was asked; -1 with the errno of the first
 * that has not, and EBUSY where some were not reached. `out` says how many then; the others keep
 * what they got unless MCTL_ATOMIC is given.
 *
 * Careful: `out` is the caller's to be written.
 */
int mctl_tree(int pidfd,
              int action,
              unsigned int flags,
              unsigned int options,
              struct mctl_group *out);

/*
 * As mctl_tree(), for every process of a cgroup and of those below it. `path` is the cgroup's
 * directory, or its name as /proc/PID/cgroup has it.
 *
 * Returns as mctl_tree(), and -1 with EFAULT for a bad `path`, ENAMETOOLONG, ENOENT, or EINVAL a
 * directory that is no cgroup.
 *
 * Careful: `path` is a C string, and `out` the caller's to be written.
 */
int mctl_cgroup(const char *path,
                int action,
                unsigned int flags,
                unsigned int options,
                struct mctl_group *out);

/*
 * Saves the switches of a process, for mctl_restore().
 *
 * `pidfd` is as for mctl_call(). `options` is 0, and the process is left alone: what /proc does
 * not tell is -1, and stays as it is when the state is restored. With MCTL_READ_IN_TARGET it is
 * read by a call in the process, one thread of which is stopped for it; EBUSY where that is not
 * possible.
 *
 * Returns 0; -1 with errno: EBADF, ESRCH, EPERM, EFAULT a bad `out`, EINVAL its size or unknown
 * options.
 *
 * Careful: `out` is the caller's to be written.
 */
int mctl_save(int pidfd, unsigned int options, struct mctl_saved *out);

/*
 * Puts the switches of a process back to what mctl_save() found. `out` is NULL, or says what was
 * done, as after mctl_outcome().
 *
 * Returns 0; -1 with errno: ESRCH the process has ended, also where another has its number now;
 * EOPNOTSUPP a state that cannot be set, or one of which was not known what it was, where that
 * makes a difference; EPERM, EBUSY, EFAULT, EINVAL no saved state. Nothing was changed then.
 *
 * Careful: `state` is the caller's to be read and `out` to be written.
 */
int mctl_restore(const struct mctl_saved *state, struct mctl_outcome *out);

#ifdef __cplusplus
}  /* extern "C" */
#endif  /* __cplusplus */

#endif  /* MCTL_H */
