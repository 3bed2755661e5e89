/*
 * "threads" threads (default 4) map, fill, verify, move, protect, cut and unmap memory of many sizes, as
 * wildly as they can: private and shared, advised and not. Every word that is read must be the one that was
 * written. One more thread touches its own memory all the time and notes its longest gap, in microseconds:
 * "gap N" is answered to "gap" on standard input, and it begins anew.
 */
#include "fixture.h"

#define SLOTS 24
#define PAGE 4096ul

struct slot {
	char *p;
	size_t len;
	uint64_t key;
};

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void fill(struct slot *s, size_t from)
{
	for (size_t i = from; i < s->len; i += PAGE)
		*(uint64_t *)(s->p + i) = s->key + i;
}

static void verify(struct slot *s, const char *when)
{
	for (size_t i = 0; i < s->len; i += PAGE) {
		uint64_t is = *(volatile uint64_t *)(s->p + i);

		if (is != s->key + i)
			fx_violation("data", "%s: %p+%#zx holds %#" PRIx64 " and not %#" PRIx64, when, (void *)s->p, i, is, s->key + i);
	}
}

static void fresh(struct slot *s, uint64_t *seed)
{
	/* From one page to 4 MiB, small ones more often. */
	s->len = PAGE << next(seed) % 11;
	s->key = next(seed) & ~0xfffffffful;
	int flags = next(seed) % 4 ? MAP_PRIVATE : MAP_SHARED;

	s->p = mmap(NULL, s->len, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	if (s->p == MAP_FAILED) {
		fx_violation("result", "mmap: %s", strerror(errno));
		s->p = NULL;
		return;
	}
	for (size_t i = 0; i < s->len; i += PAGE)
		if (*(volatile uint64_t *)(s->p + i))
			fx_violation("data", "fresh memory is not zero");
	fill(s, 0);
}

static void need(int result, const char *what)
{
	if (result)
		fx_violation("result", "%s: %s", what, strerror(errno));
}

static void one_turn(struct slot *s, uint64_t *seed)
{
	if (!s->p) {
		fresh(s, seed);
		return;
	}
	switch (next(seed) % 8) {
	case 0: /* the upper half goes */
		if (s->len >= 2 * PAGE) {
			s->len /= 2;
			need(munmap(s->p + s->len, s->len), "munmap");
		}
		break;
	case 1: { /* to another place */
		void *p = mremap(s->p, s->len, s->len, MREMAP_MAYMOVE);

		if (p == MAP_FAILED)
			need(-1, "mremap");
		else
			s->p = p;
		break;
	}
	case 2: /* split and joined again */
		need(mprotect(s->p, PAGE, PROT_READ), "mprotect");
		verify(s, "read-only");
		need(mprotect(s->p, PAGE, PROT_READ | PROT_WRITE), "mprotect");
		break;
	case 3:
		madvise(s->p, s->len, next(seed) % 2 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		break;
	case 4:
		s->key += 0x100000000ul;
		fill(s, 0);
		break;
	case 5:
		verify(s, "verify");
		break;
	default:
		verify(s, "before unmap");
		need(munmap(s->p, s->len), "munmap");
		s->p = NULL;
	}
}

static void *work(void *arg)
{
	struct slot slots[SLOTS] = { { 0 } };
	uint64_t seed = (uintptr_t)arg * 0x9e3779b97f4a7c15ull;

	while (!fx_stop) {
		one_turn(&slots[next(&seed) % SLOTS], &seed);
		fx_iterations++;
	}
	for (int i = 0; i < SLOTS; i++)
		if (slots[i].p)
			verify(&slots[i], "at the end");
	return NULL;
}

static _Atomic uint64_t longest;

static void *watch(void *arg)
{
	volatile char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	FX_NEED(p != MAP_FAILED);
	(void)arg;
	for (uint64_t last = fx_now(), i = 0; !fx_stop; i++) {
		p[i % 16 * PAGE]++;
		uint64_t now = fx_now();

		if (now - last > longest)
			longest = now - last;
		last = now;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[65], w;
	char line[64];

	fx_init(argc, argv, "map_wild");
	uint64_t threads = fx_number("threads", 4);
	FX_NEED(threads <= 64);
	for (uint64_t i = 0; i < threads; i++)
		FX_NEED(pthread_create(&t[i], NULL, work, (void *)(uintptr_t)(i + 1)) == 0);
	if (fx_number("watch", 1))
		FX_NEED(pthread_create(&w, NULL, watch, NULL) == 0);
	fx_ready(-1);
	while (!fx_stop) {
		ssize_t n = read(0, line, sizeof(line));

		if (n == 0)
			break;
		if (n > 0)
			fx_say("gap %" PRIu64, atomic_exchange(&longest, 0) / 1000);
	}
	fx_stop = 1;
	for (uint64_t i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	return fx_done();
}
