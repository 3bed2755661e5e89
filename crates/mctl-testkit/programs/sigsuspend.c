/* sigsuspend: EINTR exactly when the handler has run, once per signal, and the old mask again. */
#include "fixture.h"

static volatile sig_atomic_t handled;
static pid_t self;

static void on_signal(int sig)
{
	(void)sig;
	handled++;
}

static void post(uint64_t seq)
{
	(void)seq;
	FX_NEED(sigqueue(self, SIGRTMIN + 1, (union sigval){ .sival_int = 0 }) == 0);
}

int main(int argc, char **argv)
{
	uint64_t none = 0;
	sigset_t blocked;
	int before = 0;

	fx_init(argc, argv, "sigsuspend");
	self = getpid();
	fx_handle(SIGRTMIN + 1, on_signal);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN + 1);
	/* SIGTERM too, else it could come between the check and the call. */
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	fx_feed(post);
	fx_ready(SYS_rt_sigsuspend);
	while (!fx_stop) {
		long r = FX_CALL(SYS_rt_sigsuspend, &none, 8);
		int now = handled;

		fx_iterations++;
		if (r != -EINTR)
			fx_violation("result", "returned %ld", r);
		if (now == before && !fx_stop)
			fx_violation("spurious EINTR", "no handler has run");
		if (now > before)
			fx_check_posted();
		/* Every signal is blocked outside the call, and SIGRTMIN+1 inside its own handler; several
		 * may be taken one after the other on the way out. */
		for (before++; before < now; before++)
			fx_check_posted();
		before = now;
	}
	return fx_done();
}
