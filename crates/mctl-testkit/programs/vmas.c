/*
 * "n" VMAs (default 1000) of "size" bytes each (default 4096; alternating protection keeps them
 * apart), in one stretch: "base ADDR LENGTH". Every huge-th one is advised HUGEPAGE, every nohuge-th
 * NOHUGEPAGE (0: none). touch=1 writes to the writable ones. Contents are verified at the end.
 */
#include "fixture.h"

int main(int argc, char **argv)
{
	fx_init(argc, argv, "vmas");
	uint64_t n = fx_number("n", 1000), size = fx_number("size", 4096), huge = fx_number("huge", 0), nohuge = fx_number("nohuge", 0);
	bool touch = fx_number("touch", 0);
	char *base = mmap(NULL, n * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	FX_NEED(base != MAP_FAILED);
	for (uint64_t i = 0; i < n; i++) {
		char *p = base + i * size;

		if (i % 2 && mprotect(p, size, PROT_READ)) {
			if (errno == ENOMEM)
				fx_skip("no more than %" PRIu64 " VMAs (vm.max_map_count)", i);
			FX_NEED(!"mprotect");
		}
		if (huge && i % huge == 0)
			madvise(p, size, MADV_HUGEPAGE);
		if (nohuge && i % nohuge == 0)
			madvise(p, size, MADV_NOHUGEPAGE);
		if (touch && !(i % 2))
			*(uint64_t *)p = i;
	}
	fx_say("base %#lx %" PRIu64, (unsigned long)base, n * size);
	fx_ready(SYS_nanosleep);
	while (!fx_stop)
		fx_nap();
	for (uint64_t i = 0; touch && i < n; i += 2)
		if (*(uint64_t *)(base + i * size) != i)
			fx_violation("data", "VMA %" PRIu64 " has other contents", i);
	return fx_done();
}
