/* pselect6 with a mask. */
#include "fixture.h"
#include <sys/select.h>

int main(int argc, char **argv)
{
	uint64_t mask = 1ull << (SIGUSR2 - 1);
	struct {
		const void *mask;
		size_t size;
	} sig = { &mask, 8 };
	int fd;

	fx_init(argc, argv, "pselect6");
	fd = fx_feed_pipe(O_NONBLOCK);
	fx_ready(SYS_pselect6);
	while (!fx_stop) {
		struct timespec t = fx_timespec(fx_timeout_ms * FX_MS);
		fd_set set;

		FD_ZERO(&set);
		FD_SET(fd, &set);
		if (fx_judge(FX_CALL(SYS_pselect6, fd + 1, &set, NULL, NULL, fx_timeout_ms ? &t : NULL, &sig), 1, 0) == FX_EVENT)
			fx_take_stamp(fd);
	}
	return fx_done();
}
