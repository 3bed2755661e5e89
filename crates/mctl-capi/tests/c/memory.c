/* For valgrind: a call of every kind, and nothing left behind or read before it was written. With an argument: only
 * those that are refused before a process is looked at. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include <mctl.h>

#include "check.h"

int main(int argc, char **argv)
{
    struct mctl_outcome out;
    struct iovec vec;
    int i;

    /* valgrind does not see what the kernel writes for process_vm_writev(2). */
    (void)argv;
    memset(&out, 0, sizeof(out));
    for (i = 0; i < 3; i++) {
        FAILS(mctl(PIDFD_SELF, 0, 0), EINVAL);
        FAILS(mctl(-1, MCTL_GET_POLICY, 0), EBADF);
        FAILS(mctl_process_madvise(P_PIDFD, (id_t)PIDFD_SELF, (void *)8, 1, 0, 0), EFAULT);
        FAILS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, 0, (void *)8), EFAULT);
    }
    puts("refused");
    if (argc > 1)
        return 0;
    if (mctl_get_policy(PIDFD_SELF) < 0 && errno == ENOSYS)
        return 77;
    for (i = 0; i < 3; i++) {
        CHECK(mctl_get_policy(PIDFD_SELF) >= 0);
        out.size = sizeof(out);
        CHECK(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_BEST_EFFORT, &out) == 0);
        CHECK(out.on_exec == MCTL_EXCEEDS);
        CHECK(mctl(PIDFD_SELF, MCTL_CLEAR_NOHUGEPAGE, 0) == 0);
        vec.iov_base = NULL;
        vec.iov_len = 0;
        CHECK(mctl_process_madvise(P_PIDFD, (id_t)PIDFD_SELF, &vec, 1, 0, 0) == 0);
    }
    return 0;
}
