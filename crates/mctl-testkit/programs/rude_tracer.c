/*
 * A tracer without manners: the negative control that shows that the programs notice things.
 * rude_tracer PID mode=… [times=N] [gap=US]
 *   bare     seize, interrupt, detach: what the kernel cannot restart returns EINTR
 *   eintr    makes whatever call it interrupts return EINTR
 *   early    makes it return 0
 *   clobber  changes r12, or the rbx of code in user mode
 *   vector   changes xmm5
 *   mask     blocks SIGUSR1
 *   redzone  writes below the stack pointer
 *   inject   runs getpid on the vDSO's syscall instruction and restores the registers, but no more
 *   prctl    the same with prctl(PR_GET_THP_DISABLE), which seccomp fixtures object to
 *   polite   the opposite: runs getpid and makes everything good, as an injector should; for proof that
 *            the programs have nothing to complain about then
 *   swallow  stays attached for "gap" and throws away the signals that come
 */
#include "fixture.h"
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#if !defined(__x86_64__)
int main(void)
{
	return FX_EXIT_SKIP;
}
#else

static unsigned long vdso_syscall(pid_t pid)
{
	char path[64], line[512];
	unsigned long start = 0, end = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	FILE *f = fopen(path, "r");
	FX_NEED(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, "[vdso]"))
			FX_NEED(sscanf(line, "%lx-%lx", &start, &end) == 2);
	fclose(f);
	for (unsigned long a = start; a < end; a += 6) {
		long word = ptrace(PTRACE_PEEKTEXT, pid, a, NULL);

		for (int i = 0; i < 6; i++)
			if ((word >> (8 * i) & 0xffff) == 0x050f)
				return a + (unsigned long)i;
	}
	FX_NEED(!"no syscall instruction in the vDSO");
	return 0;
}

static bool in_call(const struct user_regs_struct *r)
{
	return (long)r->orig_rax >= 0;
}

/*
 * One getpid on the target's vDSO. Restarts that the kernel does itself happen when the old rax and
 * orig_rax are put back; a plain EINTR that no signal has caused is turned back into the call. A signal
 * that comes before the borrowed call has run must meet the registers as they were, EINTR and all.
 * Returns the signal to detach with.
 */
static int polite(pid_t pid, struct user_regs_struct saved, bool *done)
{
	struct user_regs_struct r = saved;
	int status;

	r.rip = vdso_syscall(pid);
	r.rax = SYS_getpid;
	r.orig_rax = ~0ul;
	FX_NEED(ptrace(PTRACE_SETREGS, pid, NULL, &r) == 0);
	FX_NEED(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
	FX_NEED(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
	*done = WSTOPSIG(status) == SIGTRAP;
	if (*done && in_call(&saved) && (long)saved.rax == -EINTR) {
		saved.rax = saved.orig_rax;
		saved.rip -= 2;
		saved.orig_rax = ~0ul;
	}
	FX_NEED(ptrace(PTRACE_SETREGS, pid, NULL, &saved) == 0);
	return *done ? 0 : WSTOPSIG(status);
}

static void stop(pid_t pid, int *status)
{
	FX_NEED(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0);
	FX_NEED(waitpid(pid, status, __WALL) == pid);
	if (!WIFSTOPPED(*status))
		_exit(1);
}

static uint64_t injected;

/* False: it could not be attached to, perhaps because it has ended in the meantime. */
static bool once(pid_t pid, const char *mode, uint64_t gap)
{
	struct user_regs_struct r, saved;
	struct user_fpregs_struct fp;
	int status, signal = 0;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0)
		return false;
	if (!strcmp(mode, "swallow")) {
		uint64_t end = fx_now() + gap * 1000;

		while (fx_now() < end) {
			pid_t got = waitpid(pid, &status, __WALL | WNOHANG);

			if (got == pid && WIFSTOPPED(status))
				ptrace(PTRACE_CONT, pid, NULL, 0); /* the signal is gone */
		}
	}
	stop(pid, &status);
	/* A signal was on its way before our interruption: it goes first. */
	for (int i = 0; !strcmp(mode, "polite") && status >> 16 != PTRACE_EVENT_STOP && i < 1000; i++) {
		FX_NEED(ptrace(PTRACE_CONT, pid, NULL, (long)WSTOPSIG(status)) == 0);
		FX_NEED(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
	}
	FX_NEED(ptrace(PTRACE_GETREGS, pid, NULL, &r) == 0);
	saved = r;
	if (!strcmp(mode, "eintr") && in_call(&r)) {
		r.rax = (unsigned long)-EINTR;
		r.orig_rax = ~0ul;
	} else if (!strcmp(mode, "early") && in_call(&r)) {
		r.rax = 0;
		r.orig_rax = ~0ul;
	} else if (!strcmp(mode, "clobber")) {
		r.r12 ^= 0x10;
	} else if (!strcmp(mode, "vector")) {
		FX_NEED(ptrace(PTRACE_GETFPREGS, pid, NULL, &fp) == 0);
		((unsigned char *)fp.xmm_space)[5 * 16] ^= 1;
		FX_NEED(ptrace(PTRACE_SETFPREGS, pid, NULL, &fp) == 0);
	} else if (!strcmp(mode, "mask")) {
		uint64_t mask;

		FX_NEED(ptrace(PTRACE_GETSIGMASK, pid, 8, &mask) == 0);
		mask |= 1ull << (SIGUSR1 - 1);
		FX_NEED(ptrace(PTRACE_SETSIGMASK, pid, 8, &mask) == 0);
	} else if (!strcmp(mode, "redzone")) {
		ptrace(PTRACE_POKEDATA, pid, r.rsp - 64, 0xbadul);
	} else if (!strcmp(mode, "inject") || !strcmp(mode, "prctl")) {
		bool by_prctl = !strcmp(mode, "prctl");

		r.rip = vdso_syscall(pid);
		r.rax = by_prctl ? SYS_prctl : SYS_getpid;
		if (by_prctl) {
			r.rdi = PR_GET_THP_DISABLE;
			r.rsi = r.rdx = r.r10 = r.r8 = 0;
		}
		r.orig_rax = ~0ul;
		FX_NEED(ptrace(PTRACE_SETREGS, pid, NULL, &r) == 0);
		FX_NEED(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
		FX_NEED(waitpid(pid, &status, __WALL) == pid);
		if (!WIFSTOPPED(status))
			return true; /* killed by it */
		if (WSTOPSIG(status) != SIGTRAP)
			signal = WSTOPSIG(status);
		if (gap) /* let others run on this CPU meanwhile */
			usleep((useconds_t)gap);
		r = saved;
	}
	if (!strcmp(mode, "polite")) {
		bool done;

		signal = polite(pid, saved, &done);
		injected += done;
	} else if (memcmp(&r, &saved, sizeof(r)) || !strcmp(mode, "inject") || !strcmp(mode, "prctl"))
		FX_NEED(ptrace(PTRACE_SETREGS, pid, NULL, &r) == 0);
	ptrace(PTRACE_DETACH, pid, NULL, (long)signal);
	return true;
}

int main(int argc, char **argv)
{
	fx_argc = argc;
	fx_argv = argv;
	FX_NEED(argc > 1);
	uint64_t gap = fx_number("gap", 2000), times = fx_number("times", 1);
	const char *mode = fx_word("mode", "bare");

	for (uint64_t i = 0; i < times; i++) {
		if (!once(atoi(argv[1]), mode, gap) && i == 0) {
			perror("seize");
			return 1;
		}
		usleep((useconds_t)gap);
	}
	if (!strcmp(mode, "polite"))
		fx_say("injected %" PRIu64, injected);
	return 0;
}
#endif
