/*
 * Memory in huge pages that "threads" threads (default 8) count in: two of them have a counter each in
 * a page of "mib" MiB (default 64), add to one at random, every other time put one back to zero, and
 * compare with what they remember. So pages turn all zero and back all the time: a write that is lost
 * while somebody gives back what is zero shows. One thread makes huge pages of the memory again; with
 * "discard=1" it also throws pages away, as nobody may (so that the check is seen to fail).
 */
#include "fixture.h"

#define HUGE (2ul << 20)
#define PAGE 4096ul

static char *memory;
static uint64_t pages, pairs, discard;
static _Atomic unsigned next_thread;

static uint64_t step(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static volatile uint64_t *counter(uint64_t page, unsigned thread)
{
	return (volatile uint64_t *)(memory + page * PAGE) + thread;
}

/* The pages of a thread, two threads to a page. */
static uint64_t page_of(uint64_t number, unsigned thread)
{
	return (number * pairs + thread / 2) % pages;
}

static void *count(void *arg)
{
	unsigned thread = next_thread++;
	uint32_t *known = calloc(pages, sizeof(*known));
	uint64_t random = 88172645463325252ull + thread * 7919ull;

	(void)arg;
	FX_NEED(known);
	while (!fx_stop) {
		uint64_t r = step(&random), page = page_of(r >> 8, thread);
		volatile uint64_t *at = counter(page, thread);
		uint64_t found = *at;

		if (found != known[page])
			fx_violation("data", "page %lu: %lu instead of %u", (unsigned long)page, (unsigned long)found, known[page]);
		known[page] = (r & 1) ? (uint32_t)found + 1 : 0;
		*at = known[page];
		fx_iterations++;
	}
	for (uint64_t page = 0; page < pages; page++)
		if (*counter(page, thread) != known[page])
			fx_violation("data", "page %lu at the end: %lu instead of %u", (unsigned long)page,
				     (unsigned long)*counter(page, thread), known[page]);
	free(known);
	return NULL;
}

/* madvise(MADV_COLLAPSE) on one block after the other; what cannot be made huge just now stays small. */
static void *make_huge(void *arg)
{
	(void)arg;
	while (!fx_stop)
		for (uint64_t at = 0; at < pages * PAGE && !fx_stop; at += HUGE) {
			madvise(memory + at, HUGE, 25 /* MADV_COLLAPSE */);
			if (discard)
				madvise(memory + at, HUGE, MADV_DONTNEED);
			sched_yield();
		}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[65];

	fx_init(argc, argv, "counters");
	uint64_t threads = fx_number("threads", 8), mib = fx_number("mib", 64);
	FX_NEED(threads && threads <= 64 && mib >= 2 && mib <= 4096);
	pages = mib * 256;
	pairs = (threads + 1) / 2;
	discard = fx_number("discard", 0);
	char *p = mmap(NULL, pages * PAGE + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	FX_NEED(p != MAP_FAILED);
	memory = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	madvise(memory, pages * PAGE, MADV_HUGEPAGE);
	for (uint64_t page = 0; page < pages; page++)
		*counter(page, 0) = 0;
	for (uint64_t i = 0; i < threads; i++)
		FX_NEED(pthread_create(&t[i], NULL, count, NULL) == 0);
	FX_NEED(pthread_create(&t[threads], NULL, make_huge, NULL) == 0);
	fx_ready(-1);
	for (uint64_t i = 0; i <= threads; i++)
		pthread_join(t[i], NULL);
	return fx_done();
}
