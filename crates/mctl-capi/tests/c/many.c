/* Calls from several threads on the same processes and on their own, while the program forks and signals interrupt
 * it: no call may fail, and none may take the library's own work for somebody else's.
 *
 *   many CALLS THREADS
 *
 * The last line counts the calls, by what was called, and the failures by errno. Exit status 1: there were some. */
#define _GNU_SOURCE
#include <pthread.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <mctl.h>

#include "check.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

#define PAGE 4096u
#define TARGETS 3
#define MOST 16

/* Shared with the children of forks, which call too. */
struct counts {
    _Atomic unsigned long left, own, others, forked, forks, signals;
    _Atomic unsigned long failed[256], said;
};

static struct counts *counts;
static int targets[TARGETS];
static pid_t pids[TARGETS];
static struct iovec cold;
static _Atomic int ended;

static void on_signal(int signal)
{
    (void)signal;
    counts->signals++;
}

/* Counts a call by its result. */
static void judge(long result, const char *what)
{
    if (result >= 0)
        return;
    counts->failed[errno & 255]++;
    if (counts->said++ < 20)
        fprintf(stderr, "%s: %s: %s\n", what, strerror(errno), mctl_last_detail());
}

static long with_outcome(int pidfd, int action, unsigned int flags, unsigned int options)
{
    struct mctl_outcome out;

    memset(&out, 0, sizeof(out));
    out.size = sizeof(out);
    return mctl_outcome(pidfd, action, flags, options, &out);
}

/* A call of each kind on another process. What is set does not matter: all threads set it at once. */
static void on_another(unsigned int n)
{
    int target = targets[n % TARGETS];

    switch (n / TARGETS % 4) {
    case 0:
        judge(with_outcome(target, MCTL_SET_NOHUGEPAGE, MCTL_SET_DEFAULT_EXEC, 0), "set");
        break;
    case 1:
        judge(with_outcome(target, MCTL_CLEAR_NOHUGEPAGE, 0, 0), "clear");
        break;
    case 2:
        judge(with_outcome(target, MCTL_GET_POLICY, 0, MCTL_READ_IN_TARGET), "get");
        break;
    default:
        judge(mctl_process_madvise(P_PIDFD, (id_t)target, &cold, 1, MADV_DONTDUMP, 0), "advise");
    }
}

static void on_oneself(unsigned int n)
{
    switch (n % 3) {
    case 0:
        judge(mctl_get_policy(PIDFD_SELF), "get of oneself");
        break;
    case 1:
        judge(with_outcome(PIDFD_SELF, n % 2 ? MCTL_SET_NOHUGEPAGE : MCTL_CLEAR_NOHUGEPAGE, 0, MCTL_BEST_EFFORT),
              "set of oneself");
        break;
    default:
        judge(mctl_process_madvise(P_PIDFD, (id_t)PIDFD_SELF, &cold, 1, MADV_COLD, 0), "advise of oneself");
    }
}

/* Whether there is a call left to make; takes it. */
static int takes_one(void)
{
    unsigned long left = counts->left;

    while (left && !atomic_compare_exchange_weak(&counts->left, &left, left - 1))
        ;
    return left != 0;
}

static void *calls(void *number)
{
    unsigned int n = (unsigned int)(size_t)number * 7919u;

    while (takes_one()) {
        n = n * 1664525u + 1013904223u;
        if (n >> 31) {
            on_oneself(n >> 8 & 0xffff);
            counts->own++;
        } else {
            on_another(n >> 8 & 0xffff);
            counts->others++;
        }
    }
    return NULL;
}

/* Forks whose children call, on themselves and on the same processes. */
static void *forks(void *unused)
{
    unsigned int n = 0;

    (void)unused;
    while (!ended) {
        struct timespec pause = { 0, 2000000 };
        int status;
        pid_t parent = getpid(), child = fork();

        CHECK(child >= 0);
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            /* One that never returns ends the child, and fails the test. */
            signal(SIGALRM, SIG_DFL);
            alarm(300);
            if (getppid() != parent)
                _exit(1);
            on_another(n);
            on_oneself(n);
            counts->forked += 2;
            _exit(0);
        }
        while (waitpid(child, &status, 0) != child)
            CHECK(errno == EINTR);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        counts->forks++;
        n++;
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* What the processes do that are called on: they sleep for ever, where they may be stopped at any time. (One that
 * computes is waited for, and on a machine with much other work not always met in time.) */
static void target(int kind)
{
    struct pollfd none;
    int ends[2];
    char byte;

    CHECK(pipe(ends) == 0);
    none.fd = ends[0];
    none.events = POLLIN;
    for (;;) {
        if (kind == 0)
            pause();
        else if (kind == 1)
            poll(&none, 1, -1);
        else if (read(ends[0], &byte, 1) == 1)
            _exit(1);
    }
}

int main(int argc, char **argv)
{
    struct sigaction handle;
    struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
    pthread_t thread[MOST], forker;
    unsigned long all = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    unsigned long many = argc > 2 ? strtoul(argv[2], NULL, 10) : 4;
    unsigned long i, failed = 0;

    CHECK(many >= 1 && many <= MOST);
    counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(counts != MAP_FAILED);
    counts->left = all;
    /* The same pages in the targets, which are forked from here. */
    cold.iov_len = 4 * PAGE;
    cold.iov_base = mmap(NULL, cold.iov_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(cold.iov_base != MAP_FAILED);
    memset(cold.iov_base, 7, cold.iov_len);
    for (i = 0; i < TARGETS; i++) {
        pids[i] = fork();
        CHECK(pids[i] >= 0);
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            if (getppid() == 1)
                _exit(0);
            target((int)i);
        }
        targets[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
        CHECK(targets[i] >= 0);
    }
    memset(&handle, 0, sizeof(handle));
    handle.sa_handler = on_signal; /* without SA_RESTART */
    CHECK(sigaction(SIGALRM, &handle, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);

    CHECK(pthread_create(&forker, NULL, forks, NULL) == 0);
    for (i = 0; i < many; i++)
        CHECK(pthread_create(&thread[i], NULL, calls, (void *)(i + 1)) == 0);
    for (i = 0; i < many; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
    ended = 1;
    CHECK(pthread_join(forker, NULL) == 0);
    memset(&timer, 0, sizeof(timer));
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);

    for (i = 0; i < TARGETS; i++) {
        /* Alive, and nobody's tracee. */
        CHECK(kill(pids[i], 0) == 0 && waitpid(pids[i], NULL, WNOHANG) == 0);
        CHECK(kill(pids[i], SIGKILL) == 0);
        CHECK(waitpid(pids[i], NULL, 0) == pids[i]);
    }
    CHECK(counts->own + counts->others == all);
    CHECK(counts->signals > 0 && counts->forks > 0);
    for (i = 0; i < 256; i++)
        if (counts->failed[i]) {
            fprintf(stderr, "%lu x %s\n", (unsigned long)counts->failed[i], strerror((int)i));
            failed += counts->failed[i];
        }
    printf("result: %lu calls of %lu threads (%lu on others), %lu of %lu forks, %lu signals handled; %lu failed, %lu EBUSY\n",
           all + (unsigned long)counts->forked, many, (unsigned long)counts->others, (unsigned long)counts->forked,
           (unsigned long)counts->forks, (unsigned long)counts->signals, failed, (unsigned long)counts->failed[EBUSY]);
    return failed != 0;
}
