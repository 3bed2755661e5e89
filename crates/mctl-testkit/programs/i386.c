/* build: -m32 -static -nostdlib -ffreestanding -fno-stack-protector -fno-builtin -fno-pic -no-pie */
/* A 32-bit program, without a C library so that none for 32 bits is needed: 20 ms naps through int 0x80. */
#include "nolibc.h"

static long call(long nr, long a, long b, long c, long d)
{
	long r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return r;
}

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

__attribute__((naked)) static void restorer(void)
{
	__asm__("mov $173, %eax\n	int $0x80");
}

static word now_us(void)
{
	long t[2];

	call(265, 1, (long)t, 0, 0);
	return (word)t[0] * 1000000 + (word)t[1] / 1000;
}

__attribute__((used, force_align_arg_pointer)) void _start(void)
{
	struct {
		void (*handler)(int);
		word flags;
		void (*restorer)(void);
		word mask[2];
	} action /* SA_RESTORER | SA_SIGINFO: the frame that rt_sigreturn expects */ = { on_term, 0x04000004, restorer, { 0, 0 } };
	long nap[2] = { 0, 20000000 };
	char out[256];

	call(172, 1, 9, 0, 0); /* die with the test: PR_SET_PDEATHSIG, SIGKILL */
	call(174, 15, (long)&action, 0, 8);
	call(4, 1, (long)out, (long)counts(out), 0);
	call(4, 1, (long)"ready 162\n", 10, 0);
	while (!stop) {
		word start = now_us();
		long r = call(162, (long)nap, 0, 0, 0);
		word took = now_us() - start;

		iterations++;
		if (!stop && (r || took < 19000 || took > 2020000))
			violations++;
	}
	call(4, 1, (long)out, (long)verdict(out, "i386"), 0);
	call(1, violations ? 1 : 0, 0, 0, 0);
}
