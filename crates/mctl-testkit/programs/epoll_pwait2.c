/* epoll_pwait2: a timeout in nanoseconds, and a mask. */
#include "fixture.h"
#include <sys/epoll.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

int main(int argc, char **argv)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int fd, ep = epoll_create1(0);
	uint64_t mask = 1ull << (SIGUSR2 - 1);

	fx_init(argc, argv, "epoll_pwait2");
	fd = fx_feed_pipe(O_NONBLOCK);
	FX_NEED(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	fx_ready(SYS_epoll_pwait2);
	while (!fx_stop) {
		struct timespec t = fx_timespec(fx_timeout_ms * FX_MS);
		long r = FX_CALL(SYS_epoll_pwait2, ep, &ev, 1, fx_timeout_ms ? &t : NULL, &mask, 8);

		if (fx_judge(r, 1, 0) == FX_EVENT)
			fx_take_stamp(fd);
	}
	return fx_done();
}
