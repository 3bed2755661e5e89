/* A blocking read from a signalfd: queued signals with numbers, each once and in order. */
#include "fixture.h"
#include <sys/signalfd.h>

static pid_t self;

static void post(uint64_t seq)
{
	FX_NEED(sigqueue(self, SIGRTMIN + 1, (union sigval){ .sival_ptr = (void *)seq }) == 0);
}

int main(int argc, char **argv)
{
	struct signalfd_siginfo si;
	uint64_t last = 0;
	sigset_t set;
	int fd;

	fx_init(argc, argv, "read_signalfd");
	self = getpid();
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, 0);
	FX_NEED(fd >= 0);
	fx_feed(post);
	fx_ready(SYS_read);
	while (!fx_stop) {
		if (fx_judge(FX_CALL(SYS_read, fd, &si, sizeof(si)), sizeof(si), 0) != FX_EVENT)
			continue;
		if (si.ssi_ptr != ++last)
			fx_violation("data", "signal %" PRIu64 " instead of %" PRIu64, (uint64_t)si.ssi_ptr, last);
		last = si.ssi_ptr;
		fx_check_posted();
	}
	return fx_done();
}
