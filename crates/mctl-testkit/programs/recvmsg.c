/* recvmsg on TCP over loopback, MSG_WAITALL: half a stamp, a pause, the other half.
 * (An interruption between the halves may return the first half: waitall=0 sends stamps whole.) */
#include "fixture.h"
#include <netinet/in.h>
#include <sys/socket.h>

static int peer;

static void post(uint64_t seq)
{
	struct fx_stamp s = { seq, fx_now() };
	bool whole = !fx_number("waitall", 0);

	if (!whole) {
		FX_NEED(send(peer, &s, 8, 0) == 8);
		fx_sleep_ms(2);
	}
	FX_NEED(send(peer, (char *)&s + (whole ? 0 : 8), whole ? 16 : 8, 0) == (whole ? 16 : 8));
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd;

	fx_init(argc, argv, "recvmsg");
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, len))
		fx_skip("no loopback: %s", strerror(errno));
	FX_NEED(getsockname(listener, (struct sockaddr *)&a, &len) == 0 && listen(listener, 1) == 0);
	peer = socket(AF_INET, SOCK_STREAM, 0);
	FX_NEED(connect(peer, (struct sockaddr *)&a, len) == 0);
	fd = accept(listener, NULL, NULL);
	FX_NEED(fd >= 0);
	fx_feed(post);
	fx_ready(SYS_recvmsg);
	while (!fx_stop) {
		struct fx_stamp s = { 0, 0 };
		struct iovec iov = { &s, sizeof(s) };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

		long r = FX_CALL(SYS_recvmsg, fd, &m, MSG_WAITALL);

		/* Told to end between the halves: the first one is all there is. */
		if (fx_stop && r == 8)
			break;
		if (fx_judge(r, sizeof(s), 0) == FX_EVENT)
			fx_check_stamp(s);
	}
	return fx_done();
}
