/* epoll_pwait with a mask of its own; the old mask must stand again afterwards. */
#include "fixture.h"
#include <sys/epoll.h>

int main(int argc, char **argv)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int fd, ep = epoll_create1(0);
	uint64_t mask = 1ull << (SIGUSR2 - 1);

	fx_init(argc, argv, "epoll_pwait");
	fd = fx_feed_pipe(O_NONBLOCK);
	FX_NEED(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	fx_ready(SYS_epoll_pwait);
	while (!fx_stop)
		if (fx_judge(FX_CALL(SYS_epoll_pwait, ep, &ev, 1, fx_timeout_ms ? (long)fx_timeout_ms : -1L, &mask, 8), 1, 0) == FX_EVENT)
			fx_take_stamp(fd);
	return fx_done();
}
