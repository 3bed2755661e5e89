/* Shows or sets the huge-page policy of a process: policy PID [hugepage|nohugepage|advised]
 * Without words it shows what is in force. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mctl.h>

int main(int argc, char **argv)
{
    struct mctl_outcome outcome;
    int pidfd, mask, action = 0;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: policy PID [hugepage|nohugepage|advised]\n");
        return 2;
    }
    pidfd = (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0);
    if (pidfd < 0) {
        perror("pidfd_open");
        return 1;
    }
    if (argc == 3) {
        if (strcmp(argv[2], "hugepage") == 0)
            action = MCTL_SET_HUGEPAGE;
        if (strcmp(argv[2], "nohugepage") == 0)
            action = MCTL_SET_NOHUGEPAGE;
        if (strcmp(argv[2], "advised") == 0)
            action = MCTL_SET_HUGEPAGE_ADVISED;

        memset(&outcome, 0, sizeof(outcome));
        outcome.size = sizeof(outcome);
        if (mctl_outcome(pidfd, action, 0, MCTL_BEST_EFFORT | MCTL_OWNER_RULE, &outcome) != 0) {
            fprintf(stderr, "policy: %s (%s)\n", mctl_last_detail(), strerror(errno));
            return 1;
        }
        if (!(outcome.flags & MCTL_IS_EXACT))
            printf("note: %s\n", mctl_last_detail());
        printf("stopped for %lu ns\n", (unsigned long)outcome.stopped_ns);
    }
    /* mctl_get_policy() leaves the process alone, and does not always know. */
    memset(&outcome, 0, sizeof(outcome));
    outcome.size = sizeof(outcome);
    mask = mctl_outcome(pidfd, MCTL_GET_POLICY, 0, MCTL_READ_IN_TARGET | MCTL_OWNER_RULE,
                        &outcome);
    if (mask < 0) {
        fprintf(stderr, "policy: %s (%s)\n", mctl_last_detail(), strerror(errno));
        return 1;
    }
    printf("policy %#x%s%s\n", (unsigned)mask,
           mask & MCTL_POLICY_NOHUGEPAGE ? " nohugepage" : "",
           mask & MCTL_POLICY_HUGEPAGE_ADVISED ? " advised" : "");
    return 0;
}
