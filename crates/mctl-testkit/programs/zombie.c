/* Holds a zombie: "target PID" has ended with status 42 and is not reaped before the end. */
#include "fixture.h"

int main(int argc, char **argv)
{
	siginfo_t si;
	int status = 0;
	pid_t pid;

	fx_init(argc, argv, "zombie");
	pid = fx_fork();
	if (!pid)
		_exit(42);
	FX_NEED(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0);
	fx_say("target %d", pid);
	fx_ready(-1);
	while (!fx_stop)
		fx_nap();
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 42)
		fx_violation("data", "status %#x", (unsigned)status);
	return fx_done();
}
