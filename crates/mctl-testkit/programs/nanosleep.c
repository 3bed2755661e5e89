/* nanosleep; "every" is its length (0: an hour). The remaining time is written only on EINTR. */
#include "fixture.h"

int main(int argc, char **argv)
{
	uint64_t ms;

	fx_init(argc, argv, "nanosleep");
	ms = fx_timeout_ms ? fx_timeout_ms : fx_every_ms ? fx_every_ms : 3600000;
	fx_timeout_ms = ms;
	fx_ready(SYS_nanosleep);
	while (!fx_stop) {
		struct timespec t = fx_timespec(ms * FX_MS), left = { 77, 77 };

		if (fx_judge(FX_CALL(SYS_nanosleep, &t, &left), 0, 0) == FX_TIMEOUT && (left.tv_sec != 77 || left.tv_nsec != 77))
			fx_violation("data", "the remaining time was written though nothing remained");
	}
	return fx_done();
}
