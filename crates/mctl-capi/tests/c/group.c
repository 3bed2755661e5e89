/* Coverage, trees, saving and restoring: on processes of our own, with or without privileges. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mctl.h>

#include "check.h"

static struct mctl_coverage coverage(int pidfd, unsigned options)
{
    struct mctl_coverage out;

    memset(&out, 255, sizeof(out));
    out.size = sizeof(out);
    SUCCEEDS(mctl_coverage(pidfd, options, &out));
    CHECK(out.size == sizeof(out) && out.flags == 0);
    CHECK(out.rss > 0 && out.mapped >= out.rss && out.anon_huge <= out.anonymous);
    return out;
}

static void refusals(int pidfd)
{
    struct mctl_coverage out;
    struct mctl_group group;
    struct mctl_saved saved;

    memset(&out, 0, sizeof(out));
    memset(&group, 0, sizeof(group));
    memset(&saved, 0, sizeof(saved));
    FAILS(mctl_coverage(pidfd, 0, NULL), EFAULT);
    FAILS(mctl_coverage(pidfd, 0, &out), EINVAL);
    FAILS(mctl_save(pidfd, 0, &saved), EINVAL);
    FAILS(mctl_restore(&saved, NULL), EINVAL);
    FAILS(mctl_restore(NULL, NULL), EFAULT);
    FAILS(mctl_tree(pidfd, MCTL_SET_NOHUGEPAGE, 0, 0, &group), EINVAL);
    out.size = sizeof(out);
    group.size = sizeof(group);
    saved.size = sizeof(saved);
    FAILS(mctl_coverage(pidfd, 1, &out), EINVAL);
    FAILS(mctl_coverage(-1, 0, &out), EBADF);
    FAILS(mctl_save(pidfd, MCTL_DRY_RUN, &saved), EINVAL);
    FAILS(mctl_save(-1, 0, &saved), EBADF);
    FAILS(mctl_tree(pidfd, MCTL_GET_POLICY, 0, 0, &group), EINVAL);
    FAILS(mctl_tree(pidfd, MCTL_SET_NOHUGEPAGE, 0, MCTL_DRY_RUN, &group), EINVAL);
    FAILS(mctl_tree(-1, MCTL_SET_NOHUGEPAGE, 0, MCTL_OWNER_RULE, &group), EBADF);
    FAILS(mctl_cgroup(NULL, MCTL_SET_NOHUGEPAGE, 0, MCTL_OWNER_RULE, &group), EFAULT);
    CHECK(mctl_cgroup("/no/such", MCTL_SET_NOHUGEPAGE, 0, MCTL_OWNER_RULE, &group) == -1);
    CHECK(mctl_last_detail()[0] != 0 && group.processes == 0);
}

/* Two processes that wait: the second is the first one's child. */
static pid_t two(void)
{
    int ready[2];
    char byte;
    pid_t first;

    CHECK(pipe(ready) == 0);
    first = fork();
    CHECK(first >= 0);
    if (first == 0) {
        pid_t second = fork();

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (second == 0 && write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    return first;
}

static int is_never(int pidfd)
{
    int mask;
    struct mctl_outcome out;

    memset(&out, 0, sizeof(out));
    out.size = sizeof(out);
    mask = mctl_outcome(pidfd, MCTL_GET_POLICY, 0, MCTL_OWNER_RULE | MCTL_READ_IN_TARGET, &out);
    CHECK(mask >= 0);
    return (mask & MCTL_POLICY_NOHUGEPAGE) != 0;
}

int main(void)
{
    struct mctl_saved saved;
    struct mctl_group group;
    struct mctl_outcome outcome;
    pid_t first = two();
    int pidfd = (int)syscall(SYS_pidfd_open, first, 0), done;

    CHECK(pidfd >= 0);
    refusals(pidfd);
    coverage(PIDFD_SELF, 0);
    coverage(pidfd, 0);
    coverage(pidfd, MCTL_WHY);

    memset(&saved, 0, sizeof(saved));
    saved.size = sizeof(saved);
    SUCCEEDS(mctl_save(pidfd, 0, &saved));
    CHECK(saved.pid == first && saved.start_time > 0 && saved.name[0] != 0);
    if (mctl_save(pidfd, MCTL_READ_IN_TARGET, &saved) != 0) {
        kill(first, SIGKILL);
        printf("not possible: %s\n", mctl_last_detail());
        return errno == EPERM || errno == EOPNOTSUPP ? 77 : 1;
    }
    CHECK(saved.thp_disable == 0);

    memset(&group, 0, sizeof(group));
    group.size = sizeof(group);
    errno = 4242;
    done = mctl_tree(pidfd, MCTL_SET_NOHUGEPAGE, MCTL_SET_DEFAULT_EXEC, MCTL_OWNER_RULE, &group);
    CHECK(done == 0 && errno == 4242);
    CHECK(group.processes == 2 && group.changed == 2 && group.failed == 0);
    CHECK(group.flags & MCTL_IS_COMPLETE);
    CHECK(is_never(pidfd));
    SUCCEEDS(mctl_tree(pidfd, MCTL_SET_NOHUGEPAGE, MCTL_SET_DEFAULT_EXEC,
                       MCTL_OWNER_RULE | MCTL_ATOMIC, &group));
    CHECK(group.processes == 2 && group.changed == 0 && group.restored == 0);

    memset(&outcome, 0, sizeof(outcome));
    outcome.size = sizeof(outcome);
    SUCCEEDS(mctl_restore(&saved, &outcome));
    CHECK(outcome.flags & MCTL_HAS_CHANGED);
    CHECK(!is_never(pidfd));
    SUCCEEDS(mctl_restore(&saved, NULL));

    CHECK(mctl_tree(pidfd, MCTL_CLEAR_NOHUGEPAGE, 0, MCTL_OWNER_RULE, &group) == 0);
    CHECK(group.changed == 1);
    kill(first, SIGKILL);
    CHECK(waitpid(first, NULL, 0) == first);
    FAILS(mctl_restore(&saved, NULL), ESRCH);
    FAILS(mctl_save(pidfd, 0, &saved), ESRCH);
    puts("done");
    return 0;
}
