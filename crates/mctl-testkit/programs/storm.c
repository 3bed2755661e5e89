/*
 * A signal storm around one blocking call. A sender queues three real-time signals with numbered
 * values, "burst" at a time every "gap" microseconds, and SIGUSR1 between; no more than BACKLOG
 * are pending then.
 *   call=epoll_wait | read      signals may arrive at any time
 *   call=epoll_pwait | ppoll | pselect6 | sigsuspend   signals are open only inside the call, so a
 *                               handler that has run means EINTR, without exception
 *   restart=1                   handlers with SA_RESTART (read then never returns EINTR)
 * Checked: every queued signal once and in order; EINTR only when a handler has run, and for the
 * second group always; the call's own data as ever.
 */
#include "fixture.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#define KINDS 3
#define BACKLOG 64 /* signals that may be pending at a time */

static uint64_t next_value[KINDS] = { 1, 1, 1 };
static _Atomic uint64_t handled;
static pid_t self, sender;

static void on_numbered(int sig, siginfo_t *si, void *context)
{
	int k = sig - (SIGRTMIN + 1);
	uint64_t value = (uint64_t)si->si_value.sival_ptr;

	(void)context;
	if (si->si_code != SI_QUEUE)
		fx_violation("signal", "signal %d with code %d", sig, si->si_code);
	else if (value != next_value[k])
		fx_violation("signal", "signal %d: %" PRIu64 " instead of %" PRIu64, sig, value, next_value[k]);
	next_value[k] = value + 1;
	handled++;
	fx_shared->count[2]++;
}

static void on_plain(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)context;
	if (si->si_pid != sender)
		fx_violation("signal", "SIGUSR1 from %d", si->si_pid);
	handled++;
}

static void send_all(uint64_t burst, uint64_t gap_us)
{
	uint64_t value = 1;
	struct timespec gap = fx_timespec(gap_us * 1000);

	while (!fx_shared->stop) {
		for (uint64_t i = 0; i < burst; i++, value++)
			for (int k = 0; k < KINDS; k++)
				while (sigqueue(self, SIGRTMIN + 1 + k, (union sigval){ .sival_ptr = (void *)value }) != 0) {
					if (errno != EAGAIN)
						_exit(0);
					fx_sleep_ms(1); /* the queue is full */
				}
		/* Where the machine is slow, the storm waits for the program: it is to get to its call, too. */
		while (value * KINDS > fx_shared->count[2] + BACKLOG && !fx_shared->stop)
			fx_sleep_ms(1);
		kill(self, SIGUSR1);
		nanosleep(&gap, NULL);
	}
	fx_shared->count[1] = value; /* "posted" is the feeder's */
}

int main(int argc, char **argv)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct pollfd p = { .events = POLLIN };
	sigset_t open_mask, storm;
	uint64_t none;
	struct {
		const void *mask;
		size_t size;
	} pselect_mask = { &none, 8 };

	fx_init(argc, argv, "storm");
	const char *call = fx_word("call", "epoll_wait");
	bool restart = fx_number("restart", 0);
	bool by_read = !strcmp(call, "read"), plain = !strcmp(call, "epoll_wait"), pwait = !strcmp(call, "epoll_pwait");
	bool by_ppoll = !strcmp(call, "ppoll"), by_select = !strcmp(call, "pselect6"), suspend = !strcmp(call, "sigsuspend");
	bool only_inside = !by_read && !plain;
	FX_NEED(by_read + plain + pwait + by_ppoll + by_select + suspend == 1);

	self = getpid();
	sigemptyset(&storm);
	for (int k = 0; k <= KINDS; k++) {
		int sig = k < KINDS ? SIGRTMIN + 1 + k : SIGUSR1;
		struct sigaction sa = { .sa_flags = SA_SIGINFO | (restart ? SA_RESTART : 0) };

		sa.sa_sigaction = k < KINDS ? on_numbered : on_plain;
		sigfillset(&sa.sa_mask); /* one handler at a time */
		FX_NEED(sigaction(sig, &sa, NULL) == 0);
		sigaddset(&storm, sig);
	}
	sigprocmask(SIG_SETMASK, NULL, &open_mask);
	memcpy(&none, &open_mask, 8);
	sigprocmask(SIG_BLOCK, &storm, NULL);

	/* Two helpers: this one sends signals, the feeder sends data. */
	uint64_t burst = fx_number("burst", 4), gap = fx_number("gap", 500);
	sender = fx_fork();
	if (!sender) {
		send_all(burst, gap);
		_exit(0);
	}
	int fd = fx_feed_pipe(by_read ? 0 : O_NONBLOCK), ep = epoll_create1(0);
	FX_NEED(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	p.fd = fd;
	if (!only_inside)
		sigprocmask(SIG_UNBLOCK, &storm, NULL);
	fx_ready(plain ? SYS_epoll_wait : by_read ? SYS_read : pwait ? SYS_epoll_pwait : by_ppoll ? SYS_ppoll : by_select ? SYS_pselect6 : SYS_rt_sigsuspend);

	while (!fx_stop) {
		struct fx_stamp s = { 0, 0 };
		uint64_t before = handled;
		fd_set set;
		long r;

		FD_ZERO(&set);
		FD_SET(fd, &set);
		r = plain     ? FX_CALL(SYS_epoll_wait, ep, &ev, 1, -1L)
		    : by_read ? FX_CALL(SYS_read, fd, &s, sizeof(s))
		    : pwait   ? FX_CALL(SYS_epoll_pwait, ep, &ev, 1, -1L, &none, 8)
		    : by_ppoll ? FX_CALL(SYS_ppoll, &p, 1, NULL, &none, 8)
		    : by_select ? FX_CALL(SYS_pselect6, fd + 1, &set, NULL, NULL, NULL, &pselect_mask)
				: FX_CALL(SYS_rt_sigsuspend, &none, 8);
		bool ran = handled != before;

		fx_iterations++;
		if (r == -EINTR) {
			if (!ran && !fx_stop)
				fx_violation("spurious EINTR", "no handler has run");
			if (by_read && restart && !fx_stop)
				fx_violation("spurious EINTR", "in spite of SA_RESTART");
			continue;
		}
		if (only_inside && ran)
			fx_violation("missing EINTR", "a handler has run in the call, which returned %ld", r);
		if (by_read ? r != (long)sizeof(s) : r != 1)
			fx_violation("result", "returned %ld", r);
		else if (by_read)
			fx_check_stamp(s);
		else
			fx_take_stamp(fd);
	}

	/* The sender says how many it has sent; what is still pending is then taken. */
	fx_shared->stop = 1;
	sigprocmask(SIG_UNBLOCK, &storm, NULL);
	while (waitpid(sender, NULL, 0) < 0 && errno == EINTR)
		;
	for (int k = 0; k < KINDS; k++)
		if (next_value[k] != fx_shared->count[1])
			fx_violation("signal", "%" PRIu64 " of %" PRIu64 " signals arrived", next_value[k] - 1, (uint64_t)fx_shared->count[1] - 1);
	return fx_done();
}
