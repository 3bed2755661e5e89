/* The C ABI from C: errno, pointers, threads, fork, cancellation. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mctl.h>

#include "check.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef PR_GET_THP_DISABLE
#define PR_GET_THP_DISABLE 42
#endif

#define PAGE 4096u
#define SELF ((id_t)PIDFD_SELF)
#define BAD(n) ((void *)(n))

static int thp_disable(void)
{
    return prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
}

static unsigned char *pages(size_t count)
{
    void *memory = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, 7, count * PAGE);
    return memory;
}

static void the_call(int is_root)
{
    int null = open("/dev/null", O_RDONLY);

    CHECK(mctl_version() == MCTL_VERSION);
    CHECK(mctl_last_detail() != NULL && mctl_last_detail()[0] == 0);
    SUCCEEDS(mctl_get_policy(PIDFD_SELF));
    SUCCEEDS(mctl(PIDFD_SELF_PROCESS, MCTL_GET_POLICY, 0));
    FAILS(mctl(PIDFD_SELF, 0, 0), EINVAL);
    CHECK(strstr(mctl_last_detail(), "0 is no action") != NULL);
    FAILS(mctl_call(PIDFD_SELF, 11, 0), EINVAL);
    FAILS(mctl(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 2), EINVAL);
    FAILS(mctl(PIDFD_SELF, MCTL_CLEAR_NOHUGEPAGE, MCTL_SET_DEFAULT_EXEC), EINVAL);
    FAILS(mctl(-1, 0, 0), EINVAL); /* the action is looked at first */
    FAILS(mctl(-1, MCTL_GET_POLICY, 0), EBADF);
    FAILS(mctl(1000000, MCTL_GET_POLICY, 0), EBADF);
    FAILS(mctl(null, MCTL_SET_NOHUGEPAGE, 0), EBADF);
    SUCCEEDS(mctl_get_policy(PIDFD_SELF));
    CHECK(mctl_last_detail()[0] == 0);
    close(null);

    if (is_root) {
        SUCCEEDS(mctl(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, MCTL_SET_DEFAULT_EXEC));
        CHECK(thp_disable() == 1);
        CHECK(mctl_get_policy(PIDFD_SELF) == (MCTL_POLICY_NOHUGEPAGE
                                              | MCTL_POLICY_ACROSS_EXEC(MCTL_POLICY_NOHUGEPAGE)));
        SUCCEEDS(mctl(PIDFD_SELF, MCTL_CLEAR_NOHUGEPAGE, 0));
    } else {
        FAILS(mctl(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, MCTL_SET_DEFAULT_EXEC), EPERM);
    }
    CHECK(thp_disable() == 0);
    /* Not without surviving exec, on a stock kernel: strict says so and touches nothing. */
    FAILS(mctl(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0), EOPNOTSUPP);
    CHECK(thp_disable() == 0);
}

/* What /proc does not tell is EOPNOTSUPP; the process is asked only where that was said. */
static void reading_another(int pidfd)
{
    struct mctl_outcome out;
    int mask = mctl_get_policy(pidfd);

    CHECK(mask == 0 || (mask == -1 && errno == EOPNOTSUPP && mctl_last_detail()[0] != 0));
    memset(&out, 0, sizeof(out));
    out.size = sizeof(out);
    CHECK(mctl_outcome(pidfd, MCTL_GET_POLICY, 0, 0, &out) == mask);
    CHECK(out.stopped_ns == 0);
    out.size = sizeof(out);
    SUCCEEDS(mctl_outcome(pidfd, MCTL_GET_POLICY, 0, MCTL_READ_IN_TARGET, &out));
    CHECK(out.policy_before == 0 && out.policy_after == 0 && out.thp_after == 0);
    CHECK((out.stopped_ns != 0) == (mask == -1));
    out.size = sizeof(out);
    SUCCEEDS(mctl_outcome(pidfd, MCTL_SET_NOHUGEPAGE, MCTL_SET_DEFAULT_EXEC, 0, &out));
    mask = mctl_get_policy(pidfd);
    CHECK(mask == (MCTL_POLICY_NOHUGEPAGE | MCTL_POLICY_ACROSS_EXEC(MCTL_POLICY_NOHUGEPAGE))
          || (mask == -1 && errno == EOPNOTSUPP));
}

static void the_outcome(void)
{
    struct mctl_outcome out;
    struct {
        struct mctl_outcome out;
        unsigned char more[40];
    } larger;
    void *locked = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t i;

    memset(&out, 0, sizeof(out));
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_BEST_EFFORT, &out), EINVAL);
    out.size = 0xffffffffu;
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_BEST_EFFORT, &out), EINVAL);
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_BEST_EFFORT, NULL), EFAULT);
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_BEST_EFFORT, BAD(8)), EFAULT);
    out.size = sizeof(out);
    memcpy(locked, &out, sizeof(out));
    CHECK(mprotect(locked, PAGE, PROT_READ) == 0);
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_BEST_EFFORT, locked), EFAULT);
    CHECK(thp_disable() == 0);
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, 32, &out), EINVAL);
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_READ_IN_TARGET, &out), EINVAL);
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_SET_HUGEPAGE, 0, MCTL_OVERRIDE_ADVICE, &out), EINVAL);
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_GET_POLICY, 0, MCTL_DRY_RUN, &out), EINVAL);
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_GET_POLICY, MCTL_SET_DEFAULT_EXEC, 0, &out), EINVAL);
    SUCCEEDS(mctl_outcome(PIDFD_SELF, MCTL_GET_POLICY, 0, 0, &out));
    CHECK(out.policy_after == 0 && out.thp_after == 0 && out.stopped_ns == 0);
    FAILS(mctl_outcome(-1, MCTL_SET_NOHUGEPAGE, 0, 0, &out), EBADF);
    memset(&out, 0xff, sizeof(out));
    out.size = sizeof(out);
    FAILS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, 0, &out), EOPNOTSUPP);
    CHECK(out.size == sizeof(out) && out.now == 0 && out.residual == 0);

    SUCCEEDS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_BEST_EFFORT | MCTL_DRY_RUN,
                          &out));
    CHECK(thp_disable() == 0);
    CHECK(out.now == MCTL_ENFORCED && out.on_exec == MCTL_EXCEEDS);

    memset(&larger, 0xff, sizeof(larger));
    larger.out.size = sizeof(larger);
    SUCCEEDS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_BEST_EFFORT, &larger.out));
    CHECK(thp_disable() == 1);
    CHECK(larger.out.size == sizeof(struct mctl_outcome));
    CHECK(larger.out.now == MCTL_ENFORCED && larger.out.future == MCTL_ENFORCED);
    CHECK(larger.out.on_fork == MCTL_ENFORCED && larger.out.on_exec == MCTL_EXCEEDS);
    CHECK(larger.out.mechanisms == MCTL_BY_OWN_PRCTL);
    CHECK(larger.out.notes & MCTL_NOTE_SURVIVES_EXEC);
    CHECK(!(larger.out.flags & MCTL_IS_EXACT) && (larger.out.flags & MCTL_HAS_CHANGED));
    CHECK(larger.out.thp_before == 0 && larger.out.thp_after == 1);
    CHECK(larger.out.merge_before == -1 && larger.out.stopped_ns == 0);
    CHECK(strstr(mctl_last_detail(), "keep the policy") != NULL);
    for (i = 0; i < sizeof(larger.more); i++)
        CHECK(larger.more[i] == 0);
    out.size = sizeof(out);
    SUCCEEDS(mctl_outcome(PIDFD_SELF, MCTL_CLEAR_NOHUGEPAGE, 0, 0, &out));
    CHECK((out.flags & MCTL_IS_EXACT) && thp_disable() == 0);
    munmap(locked, PAGE);
}

static void advice_on_oneself(void)
{
    unsigned char *memory = pages(8);
    struct iovec vec[2], *many;
    size_t i, count = 3000;
    pid_t child;
    int status;

    vec[0].iov_base = memory;
    vec[0].iov_len = 2 * PAGE;
    vec[1].iov_base = memory + 4 * PAGE;
    vec[1].iov_len = PAGE;

    FAILS(mctl_process_madvise(P_PIDFD, SELF, NULL, 1, MADV_COLD, 0), EFAULT);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, BAD(8), 1, MADV_COLD, 0), EFAULT);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, BAD(-8L), 4, MADV_COLD, 0), EFAULT);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, vec, (size_t)-1, MADV_COLD, 0), EINVAL);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, vec, (size_t)-1 / sizeof(*vec) + 2, MADV_COLD, 0), EINVAL);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, NULL, (size_t)-1, MADV_COLD, 0), EINVAL);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, NULL, 0, MADV_COLD, PMADV_ENTIRE_ADDRESS_SPACE), EINVAL);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, NULL, 7, MADV_COLD, PMADV_ENTIRE_ADDRESS_SPACE), EINVAL);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, vec, 2, MADV_COLD, PMADV_ENTIRE_ADDRESS_SPACE), EINVAL);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, vec, 2, MADV_COLD, 1u << 7), EINVAL);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, vec, 2, MADV_COLD, PMADV_SET_DEFAULT), EINVAL);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, vec, 2, 77, 0), EINVAL);
    FAILS(mctl_process_madvise(P_ALL, SELF, vec, 2, MADV_COLD, 0), EINVAL);
    FAILS(mctl_process_madvise(P_PID, 0, vec, 2, MADV_COLD, 0), ESRCH);
    FAILS(mctl_process_madvise(P_PIDFD, (id_t)-1, vec, 2, MADV_COLD, 0), EBADF);
    SUCCEEDS(mctl_process_madvise(P_PIDFD, SELF, NULL, 0, MADV_COLD, 0));

    /* Destructive advice is ours to give over our own memory. */
    errno = 4242;
    CHECK(mctl_process_madvise(P_PIDFD, SELF, vec, 2, MADV_DONTNEED, 0) == 3 * PAGE);
    CHECK(errno == 4242);
    CHECK(memory[0] == 0 && memory[2 * PAGE - 1] == 0 && memory[2 * PAGE] == 7);
    CHECK(memory[4 * PAGE] == 0 && memory[5 * PAGE] == 7);
    CHECK(mctl_process_madvise(P_PID, (id_t)getpid(), vec, 2, MADV_POPULATE_WRITE, 0) == 3 * PAGE);
    /* All of it would take the stack away. */
    FAILS(mctl_process_madvise(P_PIDFD, SELF, NULL, (size_t)-1, MADV_DONTNEED, PMADV_ENTIRE_ADDRESS_SPACE),
          EPERM);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, vec, 2, MADV_DONTNEED, PMADV_SET_FORK_EXEC_DEFAULT), EINVAL);

    /* A gap: what is mapped is done, then ENOMEM; or no error. */
    CHECK(munmap(memory + PAGE, PAGE) == 0);
    memset(memory, 7, PAGE);
    FAILS(mctl_process_madvise(P_PIDFD, SELF, vec, 1, MADV_DONTNEED, 0), ENOMEM);
    CHECK(memory[0] == 0);
    memset(memory, 7, PAGE);
    CHECK(mctl_process_madvise(P_PIDFD, SELF, vec, 1, MADV_DONTNEED, PMADV_NO_ERROR_ON_UNMAPPED) == 2 * PAGE);
    CHECK(memory[0] == 0);
    /* An entry done, the next fails: the short count. */
    vec[0].iov_len = PAGE;
    vec[1].iov_base = memory + 1;
    CHECK(mctl_process_madvise(P_PIDFD, SELF, vec, 2, MADV_DONTNEED, 0) == PAGE);

    /* A child finds zeroes. */
    memset(memory, 7, PAGE);
    CHECK(mctl_process_madvise(P_PIDFD, SELF, vec, 1, MADV_WIPEONFORK, 0) == PAGE);
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(memory[0]);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);

    /* More entries than the kernel takes. */
    many = calloc(count, sizeof(*many));
    CHECK(many != NULL);
    for (i = 0; i < count; i++) {
        many[i].iov_base = memory + 4 * PAGE;
        many[i].iov_len = PAGE;
    }
    CHECK(mctl_process_madvise(P_PIDFD, SELF, many, count, MADV_DONTNEED, 0) == (ssize_t)(count * PAGE));
    free(many);
    munmap(memory, 8 * PAGE);
}

static void advice_on_another(void)
{
    unsigned char *memory = pages(4);
    struct iovec vec;
    int ready[2], status, pidfd;
    pid_t child;
    char byte;

    vec.iov_base = memory;
    vec.iov_len = 4 * PAGE;
    CHECK(pipe(ready) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        memset(memory, 8, 4 * PAGE);
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    CHECK(pidfd >= 0);
    CHECK(mctl_process_madvise(P_PIDFD, (id_t)pidfd, &vec, 1, MADV_COLD, 0) == 4 * PAGE);
    CHECK(mctl_process_madvise(P_PID, (id_t)child, &vec, 1, MADV_COLD, 0) == 4 * PAGE);
    CHECK(mctl_process_madvise(P_PID, (id_t)child, &vec, 1, MADV_DONTDUMP, 0) == 4 * PAGE);
    FAILS(mctl_process_madvise(P_PIDFD, (id_t)pidfd, &vec, 1, MADV_DONTNEED, 0), EPERM);
    reading_another(pidfd);
    kill(child, SIGKILL);
    CHECK(waitpid(child, &status, 0) == child);
    FAILS(mctl_get_policy(pidfd), ESRCH);
    FAILS(mctl_process_madvise(P_PIDFD, (id_t)pidfd, &vec, 1, MADV_COLD, 0), ESRCH);
    close(pidfd);
    close(ready[0]);
    close(ready[1]);
    munmap(memory, 4 * PAGE);
}

/* What the parent did before the fork is not taken for the child. */
static void after_a_fork(void)
{
    struct mctl_outcome out;
    int status;
    pid_t child;

    memset(&out, 0, sizeof(out));
    out.size = sizeof(out);
    SUCCEEDS(mctl_outcome(PIDFD_SELF, MCTL_CLEAR_NOHUGEPAGE, 0, 0, &out));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        out.size = sizeof(out);
        SUCCEEDS(mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_BEST_EFFORT, &out));
        CHECK(out.mechanisms == MCTL_BY_OWN_PRCTL);
        _exit(thp_disable() == 1 ? 42 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    CHECK(thp_disable() == 0);
}

static void *own_detail(void *number)
{
    char wanted[32];
    int i;

    sprintf(wanted, "%ld is no action", (long)number);
    CHECK(mctl_last_detail()[0] == 0);
    for (i = 0; i < 500; i++) {
        FAILS(mctl(PIDFD_SELF, (int)(long)number, 0), EINVAL);
        CHECK(strstr(mctl_last_detail(), wanted) == mctl_last_detail());
        SUCCEEDS(mctl_get_policy(PIDFD_SELF));
    }
    return NULL;
}

static void *called_for_ever(void *unused)
{
    (void)unused;
    for (;;) {
        CHECK(mctl_get_policy(PIDFD_SELF) >= 0);
        pthread_testcancel();
    }
    return NULL;
}

static void threads(void)
{
    pthread_t thread[4];
    void *result;
    long i;

    for (i = 0; i < 4; i++)
        CHECK(pthread_create(&thread[i], NULL, own_detail, (void *)(1000 + i)) == 0);
    for (i = 0; i < 4; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
    for (i = 0; i < 20; i++) {
        CHECK(pthread_create(&thread[0], NULL, called_for_ever, NULL) == 0);
        usleep((useconds_t)(500 * i));
        CHECK(pthread_cancel(thread[0]) == 0);
        CHECK(pthread_join(thread[0], &result) == 0 && result == PTHREAD_CANCELED);
    }
}

int main(void)
{
    the_call(geteuid() == 0);
    the_outcome();
    advice_on_oneself();
    if (geteuid() == 0)
        advice_on_another();
    after_a_fork();
    threads();
    puts("done");
    return 0;
}
