/*
 * What every test program shares: the protocol with the harness, the record of violations, the
 * checked system call, and the feeder that makes the tested call return now and then.
 *
 * Protocol. The program writes "ready NR" (NR: the number of the system call it blocks in, or
 * "any") to stdout, after optional "key value" lines, of which "counts ROUNDS VIOLATIONS" has the addresses of
 * its counters. It then loops over its call until SIGTERM,
 * and ends with one line of JSON:
 *   {"program":"…","iterations":N,"total":V,"late_us":L,"violations":[{"what":"…","detail":"…"}…]}
 * Exit status: 0 no violation, 1 violations, 77 the machine cannot run it ("skip REASON" is printed).
 * SIGTERM may arrive just before the program blocks; the harness repeats it until the program ends.
 *
 * Arguments are key=value words. The common ones, all in milliseconds:
 *   every    the feeder's interval (default 20; 0: no feeder, the call blocks for ever)
 *   timeout  give the call this timeout and no feeder: it must then time out, and on time
 *   late     how late a return may be (default 2000). Tests that run on any machine set it to a bound against hanging:
 *            how late a busy machine is says nothing about a stop; an undisturbed twin does.
 */
#ifndef FIXTURE_H
#define FIXTURE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FX_UNUSED __attribute__((unused))
#define FX_MS ((uint64_t)1000000)
#define FX_KEEP 24  /* violations kept in full; the rest are only counted */
#define FX_KEEP_OF_A_KIND 4
#define FX_EXIT_SKIP 77
#define FX_PR_SET_PDEATHSIG_KILL() prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)

/* A message of the feeder: which one it is and when it was sent. */
struct fx_stamp {
	uint64_t seq;
	uint64_t ns;
};

/* Memory shared with the feeder. `posted` and `ns` are written before the event is made, so a
 * call that returns earlier than its event is seen. */
struct fx_shared {
	_Atomic uint64_t posted;
	_Atomic uint64_t ns;
	_Atomic uint32_t word; /* the futex */
	_Atomic uint32_t stop;
	_Atomic uint64_t count[8];
};

static const char *fx_name = "?";
static int fx_argc;
static char **fx_argv;
static volatile sig_atomic_t fx_stop;
static uint64_t fx_every_ms, fx_timeout_ms, fx_late_ms;
static struct fx_shared *fx_shared;
static pid_t fx_feeder_pid;
static _Atomic uint64_t fx_iterations, fx_total, fx_kept_count;
static _Atomic uint64_t fx_late_ns; /* by which timeouts ended late, all together */
static struct {
	char what[48], detail[160];
} fx_kept[FX_KEEP];
static sigset_t fx_mask;         /* the mask that must stand after every call */
static bool fx_check_mask = true;
static volatile char *fx_selector; /* Syscall User Dispatch: 1 while the tested call runs */
static __thread uint64_t fx_t0, fx_t1; /* start and end of the last checked call */

FX_UNUSED static uint64_t fx_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

FX_UNUSED static struct timespec fx_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000ull), .tv_nsec = (long)(ns % 1000000000ull) };
}

FX_UNUSED static void fx_sleep_ms(uint64_t ms)
{
	struct timespec t = fx_timespec(ms * FX_MS);

	nanosleep(&t, NULL);
}

FX_UNUSED static void fx_write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		buf += n;
		len -= (size_t)n;
	}
}

__attribute__((format(printf, 1, 2))) FX_UNUSED static void fx_say(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n++] = '\n';
	fx_write_all(1, line, (size_t)n);
}

__attribute__((format(printf, 2, 3))) FX_UNUSED static void fx_violation(const char *what, const char *fmt, ...)
{
	uint64_t kept = fx_kept_count, same = 0, slot;
	va_list ap;

	/* No lock: it also runs in signal handlers. A race may keep one too many of a kind. */
	fx_total++;
	for (uint64_t i = 0; i < kept && i < FX_KEEP; i++)
		same += !strcmp(fx_kept[i].what, what);
	if (same >= FX_KEEP_OF_A_KIND)
		return;
	slot = fx_kept_count++;
	if (slot >= FX_KEEP)
		return;
	snprintf(fx_kept[slot].what, sizeof(fx_kept[slot].what), "%s", what);
	va_start(ap, fmt);
	vsnprintf(fx_kept[slot].detail, sizeof(fx_kept[slot].detail), fmt, ap);
	va_end(ap);
}

__attribute__((noreturn, format(printf, 1, 2))) FX_UNUSED static void fx_skip(const char *fmt, ...)
{
	char reason[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	fx_say("skip %s", reason);
	_exit(FX_EXIT_SKIP);
}

/* Calls that the newer architectures no longer have: the program declines when it announces them. */
#define FX_NO_CALL (fx_skip("this architecture has no such call"), 0L)
#ifndef SYS_epoll_wait
#define SYS_epoll_wait FX_NO_CALL
#endif
#ifndef SYS_poll
#define SYS_poll FX_NO_CALL
#endif
#ifndef SYS_select
#define SYS_select FX_NO_CALL
#endif
#ifndef SYS_pause
#define SYS_pause FX_NO_CALL
#endif
#ifndef SYS_vfork
#define SYS_vfork FX_NO_CALL
#endif

/* A broken fixture must never pass for a clean one. */
#define FX_NEED(cond)                                                                         \
	do {                                                                                  \
		if (!(cond)) {                                                                \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, strerror(errno)); \
			_exit(70);                                                            \
		}                                                                             \
	} while (0)

FX_UNUSED static const char *fx_word(const char *key, const char *otherwise)
{
	size_t len = strlen(key);

	for (int i = 1; i < fx_argc; i++)
		if (!strncmp(fx_argv[i], key, len) && fx_argv[i][len] == '=')
			return fx_argv[i] + len + 1;
	return otherwise;
}

FX_UNUSED static uint64_t fx_number(const char *key, uint64_t otherwise)
{
	const char *word = fx_word(key, NULL);

	return word ? strtoull(word, NULL, 0) : otherwise;
}

FX_UNUSED static void fx_on_term(int sig)
{
	(void)sig;
	fx_stop = 1;
	if (fx_selector)
		*fx_selector = 0; /* the return from this handler is a system call too */
}

/* No SA_RESTART anywhere by default: a signal has to show. */
FX_UNUSED static void fx_handle(int sig, void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler };

	sigfillset(&sa.sa_mask);
	FX_NEED(sigaction(sig, &sa, NULL) == 0);
}

FX_UNUSED static void fx_init(int argc, char **argv, const char *name)
{
	fx_argc = argc;
	fx_argv = argv;
	fx_name = name;
	/* If the test is killed, we go too. The signal follows the starting *thread*; see Builder::outlive_thread. */
	if (!getenv("MCTL_TESTKIT_OUTLIVE"))
		FX_PR_SET_PDEATHSIG_KILL();
	fx_every_ms = fx_number("every", 20);
	fx_timeout_ms = fx_number("timeout", 0);
	fx_late_ms = fx_number("late", 2000);
	fx_shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FX_NEED(fx_shared != MAP_FAILED);
	fx_handle(SIGTERM, fx_on_term);
	sigprocmask(SIG_BLOCK, NULL, &fx_mask);
}

/* Call after the last change to the signal mask. */
FX_UNUSED static void fx_ready(long nr)
{
	pthread_sigmask(SIG_BLOCK, NULL, &fx_mask);
	fx_say("counts %lx %lx", (unsigned long)&fx_iterations, (unsigned long)&fx_total);
	if (nr >= 0)
		fx_say("ready %ld", nr);
	else
		fx_say("ready any");
}

FX_UNUSED static void fx_put_text(char *out, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text && n + 2 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			out[n++] = '\\';
		out[n++] = c < 0x20 ? ' ' : (char)c;
	}
	out[n] = 0;
}

/* Writes the verdict. It ends the feeder first, so that nothing is left behind. */
FX_UNUSED static int fx_done(void)
{
	static char out[FX_KEEP * 500 + 500];
	char what[100], detail[330];
	size_t n;
	uint64_t total = fx_total;

	if (fx_feeder_pid > 0) {
		kill(fx_feeder_pid, SIGKILL);
		while (waitpid(fx_feeder_pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	n = (size_t)snprintf(out, sizeof(out), "{\"program\":\"%s\",\"iterations\":%" PRIu64 ",\"total\":%" PRIu64 ",\"late_us\":%" PRIu64 ",\"violations\":[",
			     fx_name, (uint64_t)fx_iterations, total, fx_late_ns / 1000);
	for (uint64_t i = 0; i < fx_kept_count && i < FX_KEEP; i++) {
		fx_put_text(what, sizeof(what), fx_kept[i].what);
		fx_put_text(detail, sizeof(detail), fx_kept[i].detail);
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s{\"what\":\"%s\",\"detail\":\"%s\"}", i ? "," : "", what, detail);
	}
	n += (size_t)snprintf(out + n, sizeof(out) - n, "]}\n");
	fx_write_all(1, out, n);
	return total ? 1 : 0;
}

/* Starts a child that dies with us. In the child: 0. */
FX_UNUSED static pid_t fx_fork(void)
{
	pid_t parent = getpid(), pid = fork();

	FX_NEED(pid >= 0);
	if (pid == 0) {
		FX_PR_SET_PDEATHSIG_KILL();
		if (getppid() != parent)
			_exit(0);
		signal(SIGTERM, SIG_DFL);
	}
	return pid;
}

/* The feeder is a process, not a thread: the injector must find one thread only, the blocked one. */
FX_UNUSED static void fx_feed(void (*post)(uint64_t seq))
{
	if (fx_timeout_ms || !fx_every_ms)
		return;
	fx_feeder_pid = fx_fork();
	if (fx_feeder_pid)
		return;
	for (uint64_t seq = 1;; seq++) {
		fx_sleep_ms(fx_every_ms);
		fx_shared->ns = fx_now();
		fx_shared->posted = seq;
		post(seq);
	}
}

static int fx_pipe[2] = { -1, -1 };

FX_UNUSED static void fx_post_stamp(uint64_t seq)
{
	struct fx_stamp s = { seq, fx_now() };

	FX_NEED(write(fx_pipe[1], &s, sizeof(s)) == (ssize_t)sizeof(s));
}

/* A pipe on which the feeder writes stamps; the read end is returned, non-blocking on request. */
FX_UNUSED static int fx_feed_pipe(int flags)
{
	FX_NEED(pipe(fx_pipe) == 0);
	FX_NEED(fcntl(fx_pipe[0], F_SETFL, flags) == 0);
	fx_feed(fx_post_stamp);
	return fx_pipe[0];
}

/* Every stamp arrives once, in order and in time. */
FX_UNUSED static void fx_check_stamp(struct fx_stamp s)
{
	static uint64_t last;
	uint64_t now = fx_now();

	if (s.seq != last + 1)
		fx_violation("data", "stamp %" PRIu64 " after %" PRIu64, s.seq, last);
	last = s.seq;
	if (now - s.ns > fx_late_ms * FX_MS)
		fx_violation("late", "event seen after %" PRIu64 " ms", (now - s.ns) / FX_MS);
}

FX_UNUSED static void fx_take_stamp(int fd)
{
	struct fx_stamp s;
	ssize_t n;

	do
		n = read(fd, &s, sizeof(s));
	while (n < 0 && errno == EINTR && fx_stop);
	if (n != (ssize_t)sizeof(s))
		fx_violation("early", "the call returned but there was nothing to read (%zd)", n);
	else
		fx_check_stamp(s);
}

/* For events without data: the n-th return needs the n-th post. */
FX_UNUSED static void fx_check_posted(void)
{
	static uint64_t seen;
	uint64_t posted = fx_shared->posted, now = fx_now(), ns = fx_shared->ns;

	seen++;
	if (posted < seen)
		fx_violation("early", "return %" PRIu64 " came before its event (%" PRIu64 " so far)", seen, posted);
	if (posted == seen && now > ns && now - ns > fx_late_ms * FX_MS)
		fx_violation("late", "event seen after %" PRIu64 " ms", (now - ns) / FX_MS);
}

#include "checked_call.h"

enum fx_outcome { FX_EVENT, FX_TIMEOUT, FX_STOPPED, FX_BAD };

/* How early a timeout may end: a tick of the kernel's, where it counts in those. */
static uint64_t fx_early_ms = 1;

FX_UNUSED static void fx_check_elapsed(uint64_t want_ns)
{
	uint64_t took = fx_t1 - fx_t0;

	if (took > want_ns)
		fx_late_ns += took - want_ns;
	if (took + fx_early_ms * FX_MS < want_ns)
		fx_violation("early", "%" PRIu64 " us instead of %" PRIu64, took / 1000, want_ns / 1000);
	if (took > want_ns + fx_late_ms * FX_MS)
		fx_violation("late", "%" PRIu64 " ms instead of %" PRIu64, took / FX_MS, want_ns / FX_MS);
}

/*
 * Judges the result of the tested call: `on_event` is what it returns when the feeder has made its
 * event, `on_timeout` when its timeout has run out. EINTR is right only after SIGTERM. A call that
 * stood until SIGTERM counts as an iteration: it was held through everything that was done to it.
 */
FX_UNUSED static enum fx_outcome fx_judge(long result, long on_event, long on_timeout)
{
	atomic_fetch_add(&fx_iterations, 1);
	if (fx_stop && result == -EINTR)
		return FX_STOPPED;
	if (fx_timeout_ms && result == on_timeout) {
		fx_check_elapsed(fx_timeout_ms * FX_MS);
		return FX_TIMEOUT;
	}
	if (!fx_timeout_ms && result == on_event)
		return FX_EVENT;
	fx_violation(result == -EINTR ? "spurious EINTR" : "result", "returned %ld (%s)", result,
		     result < 0 ? strerror((int)-result) : "no error");
	fx_sleep_ms(1);
	return FX_BAD;
}

/* The plain loop for programs whose point is not the call: sleep, checked, until told to end. */
FX_UNUSED static void fx_nap(void)
{
	struct timespec t = fx_timespec((fx_every_ms ? fx_every_ms : 3600000) * FX_MS);
	long r = FX_CALL(SYS_nanosleep, &t, NULL);

	atomic_fetch_add(&fx_iterations, 1);
	if (r == 0)
		fx_check_elapsed((uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec);
	else if (r != -EINTR || !fx_stop)
		fx_violation(r == -EINTR ? "spurious EINTR" : "result", "nanosleep returned %ld", r);
}

#endif
