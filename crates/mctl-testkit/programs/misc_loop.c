/*
 * A plain sleeper with something awkward about it (kind=…), for pre-flight refusals and for proof
 * that what is awkward stays as it was:
 *   plain            nothing
 *   seccomp-kill     a filter that kills the process on prctl
 *   seccomp-errno    … that fails prctl with EPERM
 *   seccomp-trap     … that raises SIGSYS on prctl
 *   seccomp-allow    … that allows everything
 *   sigtrap-pending  SIGTRAP blocked and pending; it must stay so
 *   sigtrap-blocked  SIGTRAP blocked
 *   sigtrap-ignored  SIGTRAP ignored
 *   sigtrap-handler  SIGTRAP has a handler, which must never run
 *   nodump           PR_SET_DUMPABLE 0
 *   dispatch         Syscall User Dispatch: only our own syscall instruction is let through
 * later=1: all that only once SIGUSR1 is pending, which is blocked.
 */
#include "fixture.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

static const char *kind;
static _Atomic int handled;
static volatile char selector;

static bool is(const char *name)
{
	return !strcmp(kind, name);
}

static void on_trap(int sig)
{
	(void)sig;
	selector = 0; /* else the return from this handler would be dispatched too */
	handled++;
}

static void filter(uint32_t on_prctl)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, on_prctl),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	FX_NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		fx_skip("no seccomp filters: %s", strerror(errno));
}

static void prepare(void)
{
	sigset_t set;

	if (is("seccomp-kill"))
		filter(SECCOMP_RET_KILL_PROCESS);
	if (is("seccomp-errno"))
		filter(SECCOMP_RET_ERRNO | EPERM);
	if (is("seccomp-allow"))
		filter(SECCOMP_RET_ALLOW);
	if (is("seccomp-trap")) {
		fx_handle(SIGSYS, on_trap);
		filter(SECCOMP_RET_TRAP);
	}
	if (is("sigtrap-ignored"))
		signal(SIGTRAP, SIG_IGN);
	if (is("sigtrap-handler"))
		fx_handle(SIGTRAP, on_trap);
	sigemptyset(&set);
	sigaddset(&set, SIGTRAP);
	if (is("sigtrap-pending") || is("sigtrap-blocked"))
		sigprocmask(SIG_BLOCK, &set, NULL);
	if (is("sigtrap-pending"))
		sigqueue(getpid(), SIGTRAP, (union sigval){ .sival_int = 4711 });
	if (is("nodump"))
		FX_NEED(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
	if (is("dispatch")) {
#if defined(__x86_64__) && defined(PR_SET_SYSCALL_USER_DISPATCH)
		fx_handle(SIGSYS, on_trap);
		if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, fx_raw, (unsigned long)(fx_raw_end - (char *)fx_raw), &selector))
			fx_skip("no Syscall User Dispatch: %s", strerror(errno));
		fx_selector = &selector;
#else
		fx_skip("Syscall User Dispatch is x86 only");
#endif
	}
}

static void verify(void)
{
	struct timespec zero = { 0, 0 };
	struct sigaction sa;
	sigset_t set;
	siginfo_t si;

	FX_NEED(sigaction(SIGTRAP, NULL, &sa) == 0);
	if (is("sigtrap-ignored") != (sa.sa_handler == SIG_IGN))
		fx_violation("signal action", "SIGTRAP's action has changed");
	if (is("sigtrap-handler") != (sa.sa_handler == on_trap))
		fx_violation("signal action", "SIGTRAP's handler has changed");
	if (handled)
		fx_violation("signal", "%d signals that nobody should have sent", handled);
	sigemptyset(&set);
	sigaddset(&set, SIGTRAP);
	if (is("sigtrap-pending")) {
		if (sigtimedwait(&set, &si, &zero) != SIGTRAP || si.si_value.sival_int != 4711)
			fx_violation("signal", "the pending SIGTRAP is lost or another");
	}
	sigpending(&set);
	if (sigismember(&set, SIGTRAP))
		fx_violation("signal", "a SIGTRAP is pending that nobody should have sent");
}

int main(int argc, char **argv)
{
	sigset_t set;
	uint64_t later;

	fx_init(argc, argv, "misc_loop");
	kind = fx_word("kind", "plain");
	later = fx_number("later", 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (later)
		sigprocmask(SIG_BLOCK, &set, NULL);
	else
		prepare();
	fx_ready(SYS_nanosleep);
	while (!fx_stop) {
		fx_nap();
		if (later && !sigpending(&set) && sigismember(&set, SIGUSR1)) {
			later = 0;
			prepare();
		}
	}
	verify();
	return fx_done();
}
