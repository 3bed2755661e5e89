/* select: the sets and the time left are written back. */
#include "fixture.h"
#include <sys/select.h>

int main(int argc, char **argv)
{
	int fd;

	fx_init(argc, argv, "select");
	fd = fx_feed_pipe(O_NONBLOCK);
	fx_ready(SYS_select);
	while (!fx_stop) {
		struct timeval t = { .tv_sec = (time_t)(fx_timeout_ms / 1000), .tv_usec = (suseconds_t)(fx_timeout_ms % 1000 * 1000) };
		fd_set set;
		enum fx_outcome o;

		FD_ZERO(&set);
		FD_SET(fd, &set);
		o = fx_judge(FX_CALL(SYS_select, fd + 1, &set, NULL, NULL, fx_timeout_ms ? &t : NULL), 1, 0);
		if (o == FX_EVENT)
			fx_take_stamp(fd);
		if (o == FX_TIMEOUT && FD_ISSET(fd, &set))
			fx_violation("data", "timed out with the descriptor in the set");
	}
	return fx_done();
}
