/*
 * i386 calls made by 64-bit code (int $0x80): io_getevents for ever, by the number that waitid has for 64-bit code. The
 * first is not restarted when it is interrupted, the second is.
 */
#include "fixture.h"

#if defined(__x86_64__)
static long call32(long nr, long a, long b, long c, long d, long e)
{
	long r;
	register long rdi __asm__("rdi") = e;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "r"(rdi) : "memory", "r8", "r9", "r10", "r11");
	return (long)(int)r;
}

int main(int argc, char **argv)
{
	uint32_t *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	fx_init(argc, argv, "int80");
	FX_NEED(low != MAP_FAILED);
	if (access("/proc/sys/abi", F_OK) || call32(20, 0, 0, 0, 0, 0) != getpid())
		fx_skip("no 32-bit calls");
	if (call32(245, 1, (long)(uintptr_t)low, 0, 0, 0))
		fx_skip("no 32-bit io_setup");
	fx_ready(247);
	while (!fx_stop) {
		long r = call32(247, (long)low[0], 1, 1, (long)(uintptr_t)(low + 64), 0);

		atomic_fetch_add(&fx_iterations, 1);
		if (!fx_stop)
			fx_violation(r == -EINTR ? "spurious EINTR" : "result", "io_getevents returned %ld", r);
	}
	return fx_done();
}
#else
int main(int argc, char **argv)
{
	fx_init(argc, argv, "int80");
	fx_skip("x86-64 only");
}
#endif
