/* ppoll: the kernel writes the time left into the caller's timespec, and swaps the mask. */
#include "fixture.h"
#include <poll.h>

int main(int argc, char **argv)
{
	struct pollfd p = { .events = POLLIN };
	uint64_t mask = 1ull << (SIGUSR2 - 1);

	fx_init(argc, argv, "ppoll");
	p.fd = fx_feed_pipe(O_NONBLOCK);
	fx_ready(SYS_ppoll);
	while (!fx_stop) {
		struct timespec t = fx_timespec(fx_timeout_ms * FX_MS);
		long r = FX_CALL(SYS_ppoll, &p, 1, fx_timeout_ms ? &t : NULL, &mask, 8);
		enum fx_outcome o = fx_judge(r, 1, 0);

		if (o == FX_EVENT)
			fx_take_stamp(p.fd);
		if (o == FX_TIMEOUT && (t.tv_sec || t.tv_nsec))
			fx_violation("data", "timed out with %ld.%09ld s left", (long)t.tv_sec, t.tv_nsec);
	}
	return fx_done();
}
