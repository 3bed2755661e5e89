/* poll, for ever or with a timeout. The kernel continues it through its restart block. */
#include "fixture.h"
#include <poll.h>

int main(int argc, char **argv)
{
	struct pollfd p = { .events = POLLIN };

	fx_init(argc, argv, "poll");
	p.fd = fx_feed_pipe(O_NONBLOCK);
	fx_ready(SYS_poll);
	while (!fx_stop)
		if (fx_judge(FX_CALL(SYS_poll, &p, 1, fx_timeout_ms ? (long)fx_timeout_ms : -1L), 1, 0) == FX_EVENT)
			fx_take_stamp(p.fd);
	return fx_done();
}
