/* A stopped process (SIGSTOP). It must still be stopped until SIGCONT, and then go on exactly once. */
#include "fixture.h"

static _Atomic int continued;

static void on_cont(int sig)
{
	(void)sig;
	continued++;
}

int main(int argc, char **argv)
{
	fx_init(argc, argv, "stopped");
	fx_handle(SIGCONT, on_cont);
	fx_ready(-1);
	raise(SIGSTOP);
	fx_iterations++;
	if (!continued)
		fx_violation("resumed", "running again without a SIGCONT");
	while (!fx_stop)
		pause();
	return fx_done();
}
