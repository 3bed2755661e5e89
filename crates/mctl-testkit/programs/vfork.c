/* A parent blocked in vfork; the child shares its memory and lives "every" ms (default 300). */
#include "fixture.h"

int main(int argc, char **argv)
{
	fx_init(argc, argv, "vfork");
	uint64_t ms = fx_number("every", 300);
	volatile uint64_t turn = 0;

	fx_ready(SYS_vfork);
	while (!fx_stop) {
		uint64_t start = fx_now();
		int status = 0;

		turn = turn + 1;
		/* The C library's vfork may be called with shared stack only because the child does nothing else. */
		pid_t pid = vfork();
		if (pid == 0) {
			struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

			syscall(SYS_nanosleep, &t, NULL);
			syscall(SYS_exit_group, (int)(turn % 100));
		}
		fx_iterations++;
		FX_NEED(pid > 0);
		fx_t0 = start;
		fx_t1 = fx_now();
		if (!fx_stop)
			fx_check_elapsed(ms * FX_MS);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR && fx_stop)
			;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != (int)(turn % 100))
			fx_violation("data", "child %" PRIu64 " ended with %#x", (uint64_t)turn, (unsigned)status);
	}
	return fx_done();
}
