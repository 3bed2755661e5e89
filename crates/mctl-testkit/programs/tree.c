/* A tree of idle processes: "fanout" children each, "depth" levels. "node PID" for every one, parents
 * first; all die with the root. */
#include "fixture.h"

static uint64_t fanout;

static void grow(uint64_t depth, int report)
{
	fx_write_all(report, (const char *)&(pid_t){ getpid() }, sizeof(pid_t));
	for (uint64_t i = 0; depth && i < fanout; i++)
		if (!fx_fork()) {
			grow(depth - 1, report);
			close(report);
			for (;;)
				pause();
		}
}

int main(int argc, char **argv)
{
	uint64_t total = 1, level = 1;
	int link[2];
	pid_t pid;

	fx_init(argc, argv, "tree");
	uint64_t depth = fx_number("depth", 2);
	fanout = fx_number("fanout", 3);
	for (uint64_t i = 0; i < depth; i++)
		total += level *= fanout;
	FX_NEED(total < 20000 && pipe(link) == 0);
	grow(depth, link[1]);
	for (uint64_t i = 0; i < total; i++) {
		FX_NEED(read(link[0], &pid, sizeof(pid)) == (ssize_t)sizeof(pid));
		fx_say("node %d", pid);
	}
	fx_ready(SYS_pause);
	while (!fx_stop)
		pause();
	fx_iterations = total;
	return fx_done();
}
