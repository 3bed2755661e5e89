/* build: -static -nostdlib -ffreestanding -fno-stack-protector -fno-builtin */
/* A static x86-64 program without a C library: 20 ms naps, timed by the kernel's clock call. */
#include "nolibc.h"

#if !defined(__x86_64__)
#error "cannot find x86-64, for which this is written"
#endif

static long call(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return r;
}

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

__attribute__((naked)) static void restorer(void)
{
	__asm__("mov $15, %eax\n	syscall");
}

static word now_us(void)
{
	long t[2];

	call(228, 1, (long)t, 0, 0);
	return (word)t[0] * 1000000 + (word)t[1] / 1000;
}

__attribute__((used, force_align_arg_pointer)) void _start(void)
{
	struct {
		void (*handler)(int);
		word flags;
		void (*restorer)(void);
		word mask;
	} action = { on_term, 0x04000000, restorer, 0 };
	long nap[2] = { 0, 20000000 };
	char out[256];

	call(157, 1, 9, 0, 0); /* die with the test: PR_SET_PDEATHSIG, SIGKILL */
	call(13, 15, (long)&action, 0, 8);
	call(1, 1, (long)out, (long)counts(out), 0);
	call(1, 1, (long)"ready 35\n", 9, 0);
	while (!stop) {
		word start = now_us();
		long r = call(35, (long)nap, 0, 0, 0);
		word took = now_us() - start;

		iterations++;
		if (!stop && (r || took < 19000 || took > 2020000))
			violations++;
	}
	call(1, 1, (long)out, (long)verdict(out, "nolibc_static"), 0);
	call(60, violations ? 1 : 0, 0, 0, 0);
}
