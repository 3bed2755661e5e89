/* Executes itself again and again, every "every" ms. Arguments, environment and signal mask must survive. */
#include "fixture.h"

int main(int argc, char **argv)
{
	char turn_arg[48], env[48];
	sigset_t term, pending;

	/* Blocked for good: between exec and the next handler SIGTERM would kill us without a verdict. */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	fx_init(argc, argv, "exec_loop");
	uint64_t turn = fx_number("turn", 0);
	const char *before = getenv("MCTL_TESTKIT_TURN");

	if (turn && (!before || strtoull(before, NULL, 10) != turn))
		fx_violation("data", "turn %" PRIu64 " but environment %s", turn, before ? before : "none");
	if (!turn)
		fx_ready(SYS_nanosleep);
	pthread_sigmask(SIG_BLOCK, NULL, &fx_mask);
	fx_nap();
	fx_iterations = turn + 1;
	sigpending(&pending);
	if (fx_total || sigismember(&pending, SIGTERM))
		return fx_done();
	snprintf(turn_arg, sizeof(turn_arg), "turn=%" PRIu64, turn + 1);
	snprintf(env, sizeof(env), "%" PRIu64, turn + 1);
	setenv("MCTL_TESTKIT_TURN", env, 1);
	char every[48], late[48];
	snprintf(every, sizeof(every), "every=%" PRIu64, fx_every_ms);
	snprintf(late, sizeof(late), "late=%" PRIu64, fx_late_ms);
	execl("/proc/self/exe", argv[0], turn_arg, every, late, (char *)NULL);
	FX_NEED(!"exec");
	return 70;
}
