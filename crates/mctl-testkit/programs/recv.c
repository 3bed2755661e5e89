/* recv on a datagram socket pair. timeout=: SO_RCVTIMEO, with which the kernel does not restart it. */
#include "fixture.h"
#include <sys/socket.h>
#include <sys/time.h>

static int pair[2];

static void post(uint64_t seq)
{
	struct fx_stamp s = { seq, fx_now() };

	FX_NEED(send(pair[1], &s, sizeof(s), 0) == (ssize_t)sizeof(s));
}

int main(int argc, char **argv)
{
	fx_init(argc, argv, "recv");
	/* SO_RCVTIMEO is in ticks: 10 ms with CONFIG_HZ=100. */
	fx_early_ms = 10;
	FX_NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	struct timeval t = { .tv_sec = (time_t)(fx_timeout_ms / 1000), .tv_usec = (suseconds_t)(fx_timeout_ms % 1000 * 1000) };
	if (fx_timeout_ms)
		FX_NEED(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) == 0);
	fx_feed(post);
	fx_ready(SYS_recvfrom);
	while (!fx_stop) {
		struct fx_stamp s = { 0, 0 };

		if (fx_judge(FX_CALL(SYS_recvfrom, pair[0], &s, sizeof(s), 0, NULL, NULL), sizeof(s), -EAGAIN) == FX_EVENT)
			fx_check_stamp(s);
	}
	return fx_done();
}
