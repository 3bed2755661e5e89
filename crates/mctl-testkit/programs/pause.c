/* pause: returns EINTR exactly when a handler has run. */
#include "fixture.h"

static _Atomic int handled;
static pid_t self;

static void on_signal(int sig)
{
	(void)sig;
	handled++;
}

static void post(uint64_t seq)
{
	(void)seq;
	kill(self, SIGUSR1);
}

int main(int argc, char **argv)
{
	int before = 0;

	fx_init(argc, argv, "pause");
	self = getpid();
	fx_handle(SIGUSR1, on_signal);
	fx_feed(post);
	fx_ready(SYS_pause);
	while (!fx_stop) {
		long r = FX_CALL(SYS_pause);

		fx_iterations++;
		if (r != -EINTR)
			fx_violation("result", "returned %ld", r);
		/* A signal outside the call is simply handled there; the next one ends the call. */
		if (handled == before && !fx_stop)
			fx_violation("spurious EINTR", "no handler has run");
		before = handled;
	}
	return fx_done();
}
