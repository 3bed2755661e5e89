/* "threads" threads (default 8) map, fill, check and unmap memory as fast as they can: a contended mmap lock. */
#include "fixture.h"

#define LEN (512ul << 10)

static void *work(void *arg)
{
	for (uint64_t n = (uintptr_t)arg << 32; !fx_stop; n++) {
		uint64_t *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED) {
			fx_violation("result", "mmap: %s", strerror(errno));
			break;
		}
		for (size_t i = 0; i < LEN / 8; i += 512) {
			if (p[i])
				fx_violation("data", "fresh memory is not zero");
			p[i] = n + i;
		}
		for (size_t i = 0; i < LEN / 8; i += 512)
			if (p[i] != n + i)
				fx_violation("data", "memory has changed");
		if (munmap(p, LEN))
			fx_violation("result", "munmap: %s", strerror(errno));
		fx_iterations++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[64];

	fx_init(argc, argv, "mmap_churn");
	uint64_t threads = fx_number("threads", 8);
	FX_NEED(threads && threads <= 64);
	for (uint64_t i = 0; i < threads; i++)
		FX_NEED(pthread_create(&t[i], NULL, work, (void *)(uintptr_t)(i + 1)) == 0);
	fx_ready(-1);
	for (uint64_t i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	return fx_done();
}
