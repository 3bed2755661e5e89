/* Threads come and go: "width" at a time, each sleeps a little, checked, and returns a value of its own. */
#include "fixture.h"

static void *work(void *arg)
{
	struct timespec t = { 0, 500000 };
	long r = FX_CALL(SYS_nanosleep, &t, NULL);

	if (r && !fx_stop)
		fx_violation("spurious EINTR", "nanosleep returned %ld", r);
	return (void *)((uintptr_t)arg * 3 + 1);
}

int main(int argc, char **argv)
{
	pthread_t t[64];
	uintptr_t seq = 0;

	fx_init(argc, argv, "thread_churn");
	uint64_t width = fx_number("width", 4);
	FX_NEED(width && width <= 64);
	fx_ready(-1);
	while (!fx_stop) {
		for (uint64_t i = 0; i < width; i++)
			FX_NEED(pthread_create(&t[i], NULL, work, (void *)(seq + i)) == 0);
		for (uint64_t i = 0; i < width; i++) {
			void *got = NULL;

			FX_NEED(pthread_join(t[i], &got) == 0);
			fx_iterations++;
			if ((uintptr_t)got != (seq + i) * 3 + 1)
				fx_violation("data", "thread %" PRIuPTR " returned %p", seq + (uintptr_t)i, got);
		}
		seq += width;
	}
	return fx_done();
}
