/* rt_sigtimedwait (timeout=) or sigwaitinfo: queued signals with numbers. Never restarted. */
#include "fixture.h"

static pid_t self;

static void post(uint64_t seq)
{
	FX_NEED(sigqueue(self, SIGRTMIN + 1, (union sigval){ .sival_ptr = (void *)seq }) == 0);
}

int main(int argc, char **argv)
{
	uint64_t last = 0, set = 1ull << (SIGRTMIN + 1 - 1);
	sigset_t blocked;

	fx_init(argc, argv, "sigtimedwait");
	self = getpid();
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	fx_feed(post);
	fx_ready(SYS_rt_sigtimedwait);
	while (!fx_stop) {
		struct timespec t = fx_timespec(fx_timeout_ms * FX_MS);
		siginfo_t si;

		memset(&si, 0, sizeof(si));
		if (fx_judge(FX_CALL(SYS_rt_sigtimedwait, &set, &si, fx_timeout_ms ? &t : NULL, 8), SIGRTMIN + 1, -EAGAIN) != FX_EVENT)
			continue;
		if ((uint64_t)si.si_value.sival_ptr != ++last || si.si_code != SI_QUEUE)
			fx_violation("data", "signal %" PRIu64 " instead of %" PRIu64, (uint64_t)si.si_value.sival_ptr, last);
		last = (uint64_t)si.si_value.sival_ptr;
		fx_check_posted();
	}
	return fx_done();
}
