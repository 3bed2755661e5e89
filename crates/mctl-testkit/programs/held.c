/* A process that its parent traces (PTRACE_TRACEME). "target PID" names it; the parent passes signals on. */
#include "fixture.h"
#include <sys/ptrace.h>

static volatile pid_t child;

static void pass_on(int sig)
{
	if (child > 0)
		kill(child, sig);
}

int main(int argc, char **argv)
{
	int status, link[2];
	char c;

	fx_init(argc, argv, "held");
	FX_NEED(pipe(link) == 0);
	child = fork();
	if (!child) {
		FX_PR_SET_PDEATHSIG_KILL();
		FX_NEED(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
		FX_NEED(write(link[1], "x", 1) == 1);
		while (!fx_stop)
			fx_nap();
		exit(fx_done());
	}
	fx_handle(SIGTERM, pass_on);
	FX_NEED(read(link[0], &c, 1) == 1);
	fx_say("target %d", child);
	fx_ready(SYS_nanosleep);
	for (;;) {
		if (waitpid(child, &status, 0) < 0)
			continue; /* our own SIGTERM */
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		if (WIFSIGNALED(status))
			return 70;
		ptrace(PTRACE_CONT, child, NULL, (long)WSTOPSIG(status));
	}
}
