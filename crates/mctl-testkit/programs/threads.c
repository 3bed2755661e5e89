/* "n" threads (default 8), each blocked in another call, for "every" ms or for ever (every=0). */
#include "fixture.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>

/* Ends the calls that wait for ever; it does nothing else. */
static void on_wake(int sig)
{
	(void)sig;
}

static void *block(void *arg)
{
	uint64_t ms = fx_every_ms, one;
	int fd = eventfd(0, 0), ep = epoll_create1(0), pair[2];
	struct epoll_event ev = { .events = EPOLLIN };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint32_t word = 0;

	FX_NEED(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	while (!fx_stop) {
		struct timespec t = fx_timespec(ms * FX_MS), *tp = ms ? &t : NULL;
		struct timespec nap = fx_timespec((ms ? ms : 3600000) * FX_MS);
		long wait = ms ? (long)ms : -1, r, want = 0;

		switch ((uintptr_t)arg % 8) {
		case 0: r = FX_CALL(SYS_epoll_wait, ep, &ev, 1, wait); break;
		case 1: r = FX_CALL(SYS_poll, &p, 1, wait); break;
		case 2: r = FX_CALL(SYS_nanosleep, &nap, NULL); break;
		case 3: r = FX_CALL(SYS_futex, &word, FUTEX_WAIT, 0, tp), want = -ETIMEDOUT; break;
		case 4: r = FX_CALL(SYS_pselect6, 0, NULL, NULL, NULL, tp, NULL); break;
		case 5: r = FX_CALL(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL); break;
		/* These two have no timeout: they stand to the end. */
		case 6: r = FX_CALL(SYS_read, fd, &one, 8), want = -EINTR; break;
		default: r = FX_CALL(SYS_recvfrom, pair[0], &one, 8, 0, NULL, NULL), want = -EINTR; break;
		}
		fx_iterations++;
		if (fx_stop)
			break;
		if (want == -EINTR || r != want)
			fx_violation(r == -EINTR ? "spurious EINTR" : "result", "thread %d: returned %ld", (int)(uintptr_t)arg, r);
		else
			fx_check_elapsed(ms * FX_MS);
	}
	close(fd);
	close(ep);
	close(pair[0]);
	close(pair[1]);
	return NULL;
}

int main(int argc, char **argv)
{
	static pthread_t t[4096];
	pthread_attr_t small;

	fx_init(argc, argv, "threads");
	uint64_t n = fx_number("n", 8);
	FX_NEED(n && n <= 4096);
	fx_handle(SIGUSR2, on_wake);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 128 << 10);
	pthread_sigmask(SIG_BLOCK, NULL, &fx_mask);
	for (uint64_t i = 0; i < n; i++)
		FX_NEED(pthread_create(&t[i], &small, block, (void *)(uintptr_t)i) == 0);
	fx_ready(SYS_rt_sigsuspend);
	/* SIGTERM to this thread or any other; all the others are then woken until they are gone. */
	sigset_t open_mask, term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, &open_mask);
	while (!fx_stop)
		sigsuspend(&open_mask);
	for (uint64_t i = 0; i < n; i++) {
		struct timespec soon;

		do {
			pthread_kill(t[i], SIGUSR2);
			clock_gettime(CLOCK_REALTIME, &soon);
			soon.tv_nsec += 2000000;
			if (soon.tv_nsec >= 1000000000) {
				soon.tv_nsec -= 1000000000;
				soon.tv_sec++;
			}
		} while (pthread_timedjoin_np(t[i], NULL, &soon) != 0);
	}
	return fx_done();
}
