/*
 * "mib" MiB of memory (default 256) in small pages, with "base ADDR LENGTH", and a thread that touches one
 * page of it after the other and notes the longest time that this took. On standard input: "gap" is
 * answered with "gap US" (and it begins anew), "again" drops the memory and fills it with small pages anew.
 * Contents are verified at the end and before "again". huge=1 leaves HUGEPAGE advice on it.
 */
#include "fixture.h"

#define PAGE 4096ul

static char *base;
static size_t len;
static _Atomic uint64_t longest;
static _Atomic bool away; /* the memory is being made anew */

static void fill(void)
{
	FX_NEED(madvise(base, len, MADV_NOHUGEPAGE) == 0);
	for (size_t i = 0; i < len; i += PAGE)
		*(uint64_t *)(base + i) = i + 1;
	if (fx_number("huge", 1))
		FX_NEED(madvise(base, len, MADV_HUGEPAGE) == 0);
}

static void verify(void)
{
	for (size_t i = 0; i < len; i += PAGE)
		if (*(uint64_t *)(base + i) != i + 1)
			fx_violation("data", "page %zu has other contents", i / PAGE);
}

static void *watch(void *arg)
{
	(void)arg;
	for (size_t i = 0; !fx_stop; i = (i + 513 * PAGE) % len) {
		uint64_t t0 = fx_now();

		/* The second word: the first one holds what is verified. */
		*(volatile uint64_t *)(base + i + 8) += 1;
		uint64_t took = fx_now() - t0;
		if (!away && took > longest)
			longest = took;
		fx_iterations++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	char word[64];
	pthread_t t;

	fx_init(argc, argv, "gaps");
	len = fx_number("mib", 256) << 20;
	char *p = mmap(NULL, len + (2ul << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	FX_NEED(p != MAP_FAILED);
	base = (char *)(((uintptr_t)p + (2ul << 20) - 1) & ~((2ul << 20) - 1));
	fill();
	FX_NEED(pthread_create(&t, NULL, watch, NULL) == 0);
	fx_say("base %#lx %zu", (unsigned long)base, len);
	fx_ready(SYS_read);
	while (!fx_stop) {
		ssize_t n = read(0, word, sizeof(word) - 1);

		if (n == 0)
			break;
		if (n < 0)
			continue;
		if (word[0] == 'g') {
			fx_say("gap %" PRIu64, atomic_exchange(&longest, 0) / 1000);
			continue;
		}
		verify();
		away = true;
		FX_NEED(madvise(base, len, MADV_DONTNEED) == 0);
		fill();
		away = false;
		longest = 0;
		fx_say("ok");
	}
	fx_stop = 1;
	pthread_join(t, NULL);
	verify();
	return fx_done();
}
