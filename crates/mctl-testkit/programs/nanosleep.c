/* nanosleep; "every" is its length (0: an hour).
 *
 * The kernel writes the remaining time at every interruption, also at one that it then makes good by
 * itself, so a written one is no sign of anything; but it must lie within the time asked for, with
 * the timer's slack (prctl(2), PR_SET_TIMERSLACK: 50 us) on top where the call was interrupted as it
 * began. */
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

		if (fx_judge(FX_CALL(SYS_nanosleep, &t, &left), 0, 0) == FX_TIMEOUT &&
		    (left.tv_sec != 77 || left.tv_nsec != 77) && (uint64_t)left.tv_sec * 1000 * FX_MS + (uint64_t)left.tv_nsec > (ms + 1) * FX_MS)
			fx_violation("data", "%ld.%09ld s remaining", (long)left.tv_sec, left.tv_nsec);
	}
	return fx_done();
}
