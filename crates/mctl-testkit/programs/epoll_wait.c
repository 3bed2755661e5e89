/* epoll_wait, for ever or with a timeout. The kernel never restarts it. */
#include "fixture.h"
#include <sys/epoll.h>

int main(int argc, char **argv)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int fd, ep = epoll_create1(0);

	fx_init(argc, argv, "epoll_wait");
	fd = fx_feed_pipe(O_NONBLOCK);
	FX_NEED(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	fx_ready(SYS_epoll_wait);
	while (!fx_stop)
		if (fx_judge(FX_CALL(SYS_epoll_wait, ep, &ev, 1, fx_timeout_ms ? (long)fx_timeout_ms : -1L), 1, 0) == FX_EVENT)
			fx_take_stamp(fd);
	return fx_done();
}
