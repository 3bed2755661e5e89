/* clock_nanosleep, relative or absolute (abs=1); "every" is its length (0: an hour). */
#include "fixture.h"

int main(int argc, char **argv)
{
	uint64_t ms;
	int flags;

	fx_init(argc, argv, "clock_nanosleep");
	ms = fx_timeout_ms ? fx_timeout_ms : fx_every_ms ? fx_every_ms : 3600000;
	fx_timeout_ms = ms;
	flags = fx_number("abs", 0) ? TIMER_ABSTIME : 0;
	fx_ready(SYS_clock_nanosleep);
	while (!fx_stop) {
		uint64_t from = fx_now();
		struct timespec t = fx_timespec((flags ? from : 0) + ms * FX_MS);
		long r = FX_CALL(SYS_clock_nanosleep, CLOCK_MONOTONIC, flags, &t, NULL);

		/* An absolute time counts from when it was made, and the call may begin much later. */
		if (flags)
			fx_t0 = from;
		fx_judge(r, 0, 0);
	}
	return fx_done();
}
