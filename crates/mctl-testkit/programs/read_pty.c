/* A blocking read from a terminal in canonical mode: whole lines only. */
#include "fixture.h"
#include <termios.h>

static int master;

static void post(uint64_t seq)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%" PRIu64 " %" PRIu64 "\n", seq, fx_now());

	FX_NEED(write(master, line, (size_t)n) == n);
}

int main(int argc, char **argv)
{
	struct termios raw;
	int fd;

	fx_init(argc, argv, "read_pty");
	master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0 || grantpt(master) || unlockpt(master))
		fx_skip("no pseudo-terminal: %s", strerror(errno));
	fd = open(ptsname(master), O_RDWR | O_NOCTTY);
	FX_NEED(fd >= 0 && tcgetattr(fd, &raw) == 0);
	raw.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	FX_NEED(tcsetattr(fd, TCSANOW, &raw) == 0);
	fx_feed(post);
	fx_ready(SYS_read);
	while (!fx_stop) {
		struct fx_stamp s = { 0, 0 };
		char line[65] = "";
		long r = FX_CALL(SYS_read, fd, line, 64);

		if (r > 0 && line[r - 1] == '\n')
			r = 64;
		if (fx_judge(r, 64, 0) != FX_EVENT)
			continue;
		if (sscanf(line, "%" SCNu64 " %" SCNu64, &s.seq, &s.ns) != 2)
			fx_violation("data", "torn line: %s", line);
		else
			fx_check_stamp(s);
	}
	return fx_done();
}
