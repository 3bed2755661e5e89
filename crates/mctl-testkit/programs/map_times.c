/*
 * How long mapping takes: "times MS" on standard input maps, touches and unmaps 64 KiB for so many
 * milliseconds and answers "times COUNT MEDIAN P99 P99.9 LONGEST", in nanoseconds a turn. Turns in
 * which another task was given the processor are left out: it is locks that are looked for. Beside it are "n" small mappings (default 10000) and "mib" MiB in small pages (default 256), so that
 * somebody who reads all of it has something to read.
 */
#include "fixture.h"
#include <sys/resource.h>

#define MOST (1u << 21)

static uint32_t *times;

/* How often the processor was taken from us. */
static long taken(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void turns(uint64_t ms)
{
	uint64_t end = fx_now() + ms * FX_MS;
	size_t n = 0;

	while (n < MOST) {
		long before = taken();
		uint64_t t0 = fx_now();
		char *p = mmap(NULL, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		FX_NEED(p != MAP_FAILED);
		*(volatile char *)p = 1;
		FX_NEED(munmap(p, 64 << 10) == 0);
		uint64_t t1 = fx_now();
		if (taken() == before)
			times[n++] = t1 - t0 > UINT32_MAX ? UINT32_MAX : (uint32_t)(t1 - t0);
		fx_iterations++;
		if (t1 >= end)
			break;
	}
	if (!n)
		times[n++] = 0;
	qsort(times, n, sizeof(*times), by_size);
	fx_say("times %zu %u %u %u %u", n, times[n / 2], times[n - 1 - n / 100], times[n - 1 - n / 1000], times[n - 1]);
}

int main(int argc, char **argv)
{
	char word[64];

	fx_init(argc, argv, "map_times");
	uint64_t n = fx_number("n", 10000), mib = fx_number("mib", 256);
	size_t len = mib << 20;
	times = calloc(MOST, sizeof(*times));
	FX_NEED(times);
	memset(times, 1, MOST * sizeof(*times));
	char *many = mmap(NULL, n * 4096 + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	FX_NEED(many != MAP_FAILED);
	for (uint64_t i = 1; i < n; i += 2)
		if (mprotect(many + i * 4096, 4096, PROT_READ))
			fx_skip("no more than %" PRIu64 " VMAs (vm.max_map_count)", i);
	char *large = mmap(NULL, len + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FX_NEED(large != MAP_FAILED);
	madvise(large, len, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < len; i += 4096)
		large[i] = 1;
	fx_ready(SYS_read);
	while (!fx_stop) {
		ssize_t got = read(0, word, sizeof(word) - 1);

		if (got == 0)
			break;
		if (got < 0)
			continue;
		word[got] = 0;
		turns(strtoul(strncmp(word, "times ", 6) ? "100" : word + 6, NULL, 10));
	}
	return fx_done();
}
