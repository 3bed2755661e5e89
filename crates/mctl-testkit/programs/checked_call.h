/*
 * One system call with every register watched. Registers that the kernel must keep are filled with
 * patterns (the arguments, rbx, rbp, r12-r15, xmm0-15), as is the red zone below the stack pointer.
 * After the call all are compared; rcx must hold the return address and r11 the flags, as the
 * `syscall` instruction leaves them. Elsewhere than on x86-64 it is a plain call.
 */
#ifndef CHECKED_CALL_H
#define CHECKED_CALL_H

#if defined(__x86_64__)

struct fx_frame {
	uint64_t nr;            /*   0 */
	uint64_t arg[6];        /*   8: rdi rsi rdx r10 r8 r9 */
	uint64_t keep[6];       /*  56: rbx rbp r12 r13 r14 r15 */
	uint64_t xmm[16][2];    /* 104 */
	uint64_t red;           /* 360 */
	int64_t result;         /* 368 */
	uint64_t out_arg[6];    /* 376 */
	uint64_t out_keep[6];   /* 424 */
	uint64_t rcx, r11;      /* 472 480 */
	uint64_t flags, rip;    /* 488 496 */
	uint64_t out_xmm[16][2];/* 504 */
	uint64_t out_red[16];   /* 760 */
};
_Static_assert(offsetof(struct fx_frame, red) == 360, "the assembly below knows the offsets");
_Static_assert(offsetof(struct fx_frame, out_red) == 760, "the assembly below knows the offsets");

void fx_raw(struct fx_frame *);
extern char fx_raw_syscall[], fx_raw_after[], fx_raw_end[];

__asm__(".pushsection .text\n"
	".globl fx_raw, fx_raw_syscall, fx_raw_after, fx_raw_end\n"
	".type fx_raw, @function\n"
	"fx_raw:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	push %rdi\n"
	"	mov 360(%rdi), %rax\n"
	"	.set i, 1\n	.rept 16\n	mov %rax, -8*i(%rsp)\n	.set i, i+1\n	.endr\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movups (104+16*\\n)(%rdi), %xmm\\n\n"
	"	.endr\n"
	"	mov 0(%rdi), %rax\n"
	"	mov 16(%rdi), %rsi\n	mov 24(%rdi), %rdx\n	mov 32(%rdi), %r10\n"
	"	mov 40(%rdi), %r8\n	mov 48(%rdi), %r9\n"
	"	mov 56(%rdi), %rbx\n	mov 64(%rdi), %rbp\n	mov 72(%rdi), %r12\n"
	"	mov 80(%rdi), %r13\n	mov 88(%rdi), %r14\n	mov 96(%rdi), %r15\n"
	"	mov 8(%rdi), %rdi\n"
	"	stc\n" /* a flag that is rarely set by chance */
	"fx_raw_syscall:\n"
	"	syscall\n"
	"fx_raw_after:\n"
	/* The frame's address comes back into rax, the result takes its place. No flag changes. */
	"	xchg %rax, (%rsp)\n"
	"	mov %rdi, 376(%rax)\n	mov %rsi, 384(%rax)\n	mov %rdx, 392(%rax)\n"
	"	mov %r10, 400(%rax)\n	mov %r8, 408(%rax)\n	mov %r9, 416(%rax)\n"
	"	mov %rbx, 424(%rax)\n	mov %rbp, 432(%rax)\n	mov %r12, 440(%rax)\n"
	"	mov %r13, 448(%rax)\n	mov %r14, 456(%rax)\n	mov %r15, 464(%rax)\n"
	"	mov %rcx, 472(%rax)\n	mov %r11, 480(%rax)\n"
	"	.set i, 1\n	.rept 16\n"
	"	mov -8*i(%rsp), %rcx\n	mov %rcx, 760+8*(i-1)(%rax)\n"
	"	.set i, i+1\n	.endr\n"
	"	pushfq\n	popq 488(%rax)\n"
	"	lea fx_raw_after(%rip), %rcx\n	mov %rcx, 496(%rax)\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movups %xmm\\n, (504+16*\\n)(%rax)\n"
	"	.endr\n"
	"	pop 368(%rax)\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n"
	"fx_raw_end:\n"
	".size fx_raw, .-fx_raw\n"
	".popsection\n");

FX_UNUSED static void fx_same(const char *what, int index, uint64_t want, uint64_t got)
{
	if (want != got)
		fx_violation("register", "%s[%d] %#" PRIx64 " instead of %#" PRIx64, what, index, got, want);
}

FX_UNUSED static long fx_registers(long nr, const long *arg)
{
	static __thread uint64_t turn;
	struct fx_frame f;

	memset(&f, 0, sizeof(f));
	turn++;
	f.nr = (uint64_t)nr;
	for (int i = 0; i < 6; i++) {
		f.arg[i] = (uint64_t)arg[i];
		f.keep[i] = 0xbead000000000000ull + (uint64_t)i * 0x0101010101ull + turn;
	}
	for (int i = 0; i < 16; i++) {
		f.xmm[i][0] = 0x1111111111111111ull * (uint64_t)i + turn;
		f.xmm[i][1] = ~f.xmm[i][0];
	}
	f.red = 0x5ed0000000000000ull + turn;
	if (fx_selector)
		*fx_selector = 1;
	fx_raw(&f);
	if (fx_selector)
		*fx_selector = 0;
	for (int i = 0; i < 6; i++) {
		fx_same("rdi rsi rdx r10 r8 r9", i, f.arg[i], f.out_arg[i]);
		fx_same("rbx rbp r12 r13 r14 r15", i, f.keep[i], f.out_keep[i]);
	}
	for (int i = 0; i < 16; i++) {
		fx_same("xmm low", i, f.xmm[i][0], f.out_xmm[i][0]);
		fx_same("xmm high", i, f.xmm[i][1], f.out_xmm[i][1]);
		fx_same("red zone", i, f.red, f.out_red[i]);
	}
	fx_same("rcx", 0, f.rip, f.rcx);
	fx_same("r11", 0, f.flags, f.r11);
	fx_same("carry flag", 0, 1, f.flags & 1);
	return (long)f.result;
}

#else

FX_UNUSED static long fx_registers(long nr, const long *arg)
{
	long r = syscall(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);

	return r == -1 ? -errno : r;
}

#endif

/* The checked call: registers, errno, the signal mask; and when it began and ended. */
FX_UNUSED static long fx_call(long nr, const long *arg)
{
	sigset_t mask;
	long r;

	errno = 4242;
	fx_t0 = fx_now();
	r = fx_registers(nr, arg);
	fx_t1 = fx_now();
#if defined(__x86_64__)
	if (errno != 4242)
		fx_violation("errno", "changed to %d", errno);
#endif
	if (fx_check_mask) {
		pthread_sigmask(SIG_BLOCK, NULL, &mask);
		for (int s = 1; s < 65; s++)
			if (sigismember(&mask, s) != sigismember(&fx_mask, s))
				fx_violation("signal mask", "signal %d is %sblocked", s, sigismember(&mask, s) ? "" : "not ");
	}
	return r;
}

/* Up to six arguments, numbers or pointers. */
#define FX_ARG(x) ((long)(x))
#define FX_CALL0(nr) fx_call(nr, (const long[6]){ 0 })
#define FX_CALL1(nr, a) fx_call(nr, (const long[6]){ FX_ARG(a) })
#define FX_CALL2(nr, a, b) fx_call(nr, (const long[6]){ FX_ARG(a), FX_ARG(b) })
#define FX_CALL3(nr, a, b, c) fx_call(nr, (const long[6]){ FX_ARG(a), FX_ARG(b), FX_ARG(c) })
#define FX_CALL4(nr, a, b, c, d) fx_call(nr, (const long[6]){ FX_ARG(a), FX_ARG(b), FX_ARG(c), FX_ARG(d) })
#define FX_CALL5(nr, a, b, c, d, e) fx_call(nr, (const long[6]){ FX_ARG(a), FX_ARG(b), FX_ARG(c), FX_ARG(d), FX_ARG(e) })
#define FX_CALL6(nr, a, b, c, d, e, f) fx_call(nr, (const long[6]){ FX_ARG(a), FX_ARG(b), FX_ARG(c), FX_ARG(d), FX_ARG(e), FX_ARG(f) })
#define FX_PICK(_0, _1, _2, _3, _4, _5, _6, name, ...) name
#define FX_CALL(...) FX_PICK(__VA_ARGS__, FX_CALL6, FX_CALL5, FX_CALL4, FX_CALL3, FX_CALL2, FX_CALL1, FX_CALL0, 0)(__VA_ARGS__)

#endif
