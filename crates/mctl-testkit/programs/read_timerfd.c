/* A blocking read from a timerfd that fires once after "every" ms (0: never). */
#include "fixture.h"
#include <sys/timerfd.h>

int main(int argc, char **argv)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);

	fx_init(argc, argv, "read_timerfd");
	FX_NEED(fd >= 0);
	fx_ready(SYS_read);
	while (!fx_stop) {
		struct itimerspec it = { .it_value = fx_timespec(fx_every_ms * FX_MS) };
		uint64_t value = 0, armed = fx_now();

		FX_NEED(timerfd_settime(fd, 0, &it, NULL) == 0);
		if (fx_judge(FX_CALL(SYS_read, fd, &value, 8), 8, 0) != FX_EVENT)
			continue;
		if (value != 1)
			fx_violation("data", "%" PRIu64 " expirations", value);
		/* The clock started before the call; on a busy machine long before. */
		fx_t0 = armed;
		fx_check_elapsed(fx_every_ms * FX_MS);
	}
	return fx_done();
}
