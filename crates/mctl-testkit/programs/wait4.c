/* wait4 (or op=waitid) for a child that ends after "every" ms (0: never) with a status of its own. */
#include "fixture.h"

static pid_t child(uint64_t seq)
{
	pid_t pid = fx_fork();

	if (pid)
		return pid;
	fx_sleep_ms(fx_every_ms ? fx_every_ms : 3600000);
	_exit((int)(seq % 127));
}

int main(int argc, char **argv)
{
	bool by_id;
	pid_t pid = 0;

	fx_init(argc, argv, "wait4");
	by_id = !strcmp(fx_word("op", ""), "waitid");
	fx_ready(by_id ? SYS_waitid : SYS_wait4);
	for (uint64_t seq = 1; !fx_stop; seq++) {
		int status = 0;
		siginfo_t si;
		long r;

		/* Taken before the fork: the child may be running before fork returns here. */
		uint64_t start = fx_now();
		pid = child(seq);
		memset(&si, 0, sizeof(si));
		r = by_id ? FX_CALL(SYS_waitid, P_PID, pid, &si, WEXITED, NULL) : FX_CALL(SYS_wait4, pid, &status, 0, NULL);
		if (fx_judge(r, by_id ? 0 : pid, 0) != FX_EVENT)
			continue;
		if (by_id)
			status = si.si_code == CLD_EXITED && si.si_pid == pid ? W_EXITCODE(si.si_status, 0) : -1;
		pid = 0;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != (int)(seq % 127))
			fx_violation("data", "status %#x for child %" PRIu64, (unsigned)status, seq);
		fx_t0 = start;
		fx_check_elapsed(fx_every_ms * FX_MS);
	}
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return fx_done();
}
