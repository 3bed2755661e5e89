/* accept on a Unix socket; the feeder connects and sends one stamp. timeout=: SO_RCVTIMEO. */
#include "fixture.h"
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

static struct sockaddr_un name = { .sun_family = AF_UNIX };
static socklen_t name_len;

static void post(uint64_t seq)
{
	struct fx_stamp s = { seq, fx_now() };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	FX_NEED(connect(fd, (struct sockaddr *)&name, name_len) == 0);
	FX_NEED(write(fd, &s, sizeof(s)) == (ssize_t)sizeof(s));
	close(fd);
}

int main(int argc, char **argv)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	fx_init(argc, argv, "accept");
	/* SO_RCVTIMEO is in ticks: 10 ms with CONFIG_HZ=100. */
	fx_early_ms = 10;
	/* An address chosen by the kernel leaves no file behind. */
	name_len = sizeof(name);
	FX_NEED(bind(fd, (struct sockaddr *)&name, sizeof(sa_family_t)) == 0);
	FX_NEED(getsockname(fd, (struct sockaddr *)&name, &name_len) == 0 && listen(fd, 64) == 0);
	struct timeval t = { .tv_sec = (time_t)(fx_timeout_ms / 1000), .tv_usec = (suseconds_t)(fx_timeout_ms % 1000 * 1000) };
	if (fx_timeout_ms)
		FX_NEED(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) == 0);
	fx_feed(post);
	fx_ready(SYS_accept);
	while (!fx_stop) {
		long r = FX_CALL(SYS_accept, fd, NULL, NULL);

		if (fx_judge(r > 0 ? 1 : r, 1, -EAGAIN) == FX_EVENT) {
			fx_take_stamp((int)r);
			close((int)r);
		}
	}
	return fx_done();
}
