/*
 * epoll_wait through the C library's own function, with a timeout and nothing to wait for: as most programs wait.
 * threads=2: beside another thread; the C library then makes the call in another way.
 */
#include "fixture.h"
#include <sys/epoll.h>

static void *stand_by(void *unused)
{
	for (;;)
		pause();
	return unused;
}

int main(int argc, char **argv)
{
	struct epoll_event ev;
	int ep = epoll_create1(0);

	fx_init(argc, argv, "epoll_wait_libc");
	FX_NEED(ep >= 0 && fx_timeout_ms);
	if (fx_number("threads", 1) > 1) {
		pthread_t other;
		sigset_t all, old;

		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		FX_NEED(pthread_create(&other, NULL, stand_by, NULL) == 0);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	/* A wait never ends early, not by a microsecond. */
	fx_early_ms = 0;
	fx_ready(SYS_epoll_wait);
	while (!fx_stop) {
		long result;

		fx_t0 = fx_now();
		result = epoll_wait(ep, &ev, 1, (int)fx_timeout_ms);
		fx_t1 = fx_now();
		fx_judge(result < 0 ? -errno : result, 1, 0);
	}
	return fx_done();
}
