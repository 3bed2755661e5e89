/* Forks without end: "width" children at a time, each lives "live" ms, has a child of its own, and
 * ends with a status of its own. Every status must come back right. */
#include "fixture.h"

int main(int argc, char **argv)
{
	struct {
		pid_t pid;
		uint64_t seq;
	} slot[256] = { 0 };
	uint64_t seq = 0;

	fx_init(argc, argv, "fork_storm");
	uint64_t width = fx_number("width", 4), live = fx_number("live", 2);
	FX_NEED(width && width <= 256);
	fx_ready(-1);
	while (!fx_stop) {
		int status = 0;
		pid_t pid;

		for (uint64_t i = 0; i < width; i++) {
			if (slot[i].pid)
				continue;
			slot[i].seq = ++seq;
			slot[i].pid = fx_fork();
			if (slot[i].pid)
				continue;
			if (!fx_fork()) {
				fx_sleep_ms(live);
				_exit(0);
			}
			fx_sleep_ms(live);
			while (waitpid(-1, &status, 0) < 0 && errno == EINTR)
				;
			_exit(status ? 126 : (int)(seq % 100));
		}
		pid = waitpid(-1, &status, 0);
		if (pid < 0) {
			if (errno != EINTR || !fx_stop)
				fx_violation("result", "waitpid: %s", strerror(errno));
			continue;
		}
		for (uint64_t i = 0; i < width; i++)
			if (slot[i].pid == pid) {
				fx_iterations++;
				if (!WIFEXITED(status) || WEXITSTATUS(status) != (int)(slot[i].seq % 100))
					fx_violation("data", "child %" PRIu64 " ended with %#x", slot[i].seq, (unsigned)status);
				slot[i].pid = 0;
			}
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	return fx_done();
}
