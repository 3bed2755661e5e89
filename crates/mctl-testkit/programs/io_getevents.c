/* io_getevents (Linux aio): waits for a poll on a pipe, or for its timeout=. */
#include "fixture.h"
#include <linux/aio_abi.h>
#include <poll.h>

int main(int argc, char **argv)
{
	aio_context_t ctx = 0;
	bool armed = false;
	int fd;

	fx_init(argc, argv, "io_getevents");
	if (syscall(SYS_io_setup, 4, &ctx) < 0)
		fx_skip("no aio: %s", strerror(errno));
	fd = fx_feed_pipe(O_NONBLOCK);
	fx_ready(SYS_io_getevents);
	while (!fx_stop) {
		struct timespec t = fx_timespec(fx_timeout_ms * FX_MS);
		struct iocb cb = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)fd, .aio_buf = POLLIN, .aio_data = 99 };
		struct iocb *list[1] = { &cb };
		struct io_event ev;

		memset(&ev, 0, sizeof(ev));
		if (!armed && syscall(SYS_io_submit, ctx, 1, list) != 1)
			fx_skip("aio cannot poll: %s", strerror(errno));
		armed = true;
		if (fx_judge(FX_CALL(SYS_io_getevents, ctx, 1, 1, &ev, fx_timeout_ms ? &t : NULL), 1, 0) != FX_EVENT)
			continue;
		armed = false;
		if (ev.data != 99 || !(ev.res & POLLIN))
			fx_violation("data", "event %llu res %lld", (unsigned long long)ev.data, (long long)ev.res);
		fx_take_stamp(fd);
	}
	return fx_done();
}
