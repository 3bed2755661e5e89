/*
 * write to a full pipe. The reader takes "take" bytes at a time (default: size) and checks the stream.
 * A size of up to 4096 (default) is atomic: all or nothing. A larger one with take < size waits half
 * done, and is then cut short by any interruption, by the kernel's design; short=1 allows that,
 * short=0 (default) does not.
 */
#include "fixture.h"

static size_t size, portion;

static void take(uint64_t seq)
{
	static unsigned char buf[1 << 20];
	static unsigned char next;
	size_t got = 0;

	(void)seq;
	while (got < portion) {
		ssize_t n = read(fx_pipe[0], buf, portion - got);

		FX_NEED(n > 0);
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != next++) {
				fx_shared->count[0]++;
				next = (unsigned char)(buf[i] + 1);
			}
		got += (size_t)n;
	}
}

int main(int argc, char **argv)
{
	static unsigned char buf[(1 << 20) + 256];
	uint64_t sent = 0;
	bool may_be_short;

	fx_init(argc, argv, "write_pipe");
	size = fx_number("size", 4096);
	portion = fx_number("take", size);
	may_be_short = fx_number("short", 0);
	FX_NEED(size && size <= 1 << 20 && portion <= 1 << 20 && pipe(fx_pipe) == 0);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (unsigned char)i;
	fcntl(fx_pipe[1], F_SETFL, O_NONBLOCK);
	for (ssize_t n; (n = write(fx_pipe[1], buf + sent % 256, 4096)) > 0;)
		sent += (uint64_t)n;
	fcntl(fx_pipe[1], F_SETFL, 0);
	fx_feed(take);
	fx_ready(SYS_write);
	while (!fx_stop) {
		long r = FX_CALL(SYS_write, fx_pipe[1], buf + sent % 256, size);

		/* Only the end may cut it short, or what the harness has announced. */
		if (r > 0)
			sent += (uint64_t)r;
		if (r > 0 && (size_t)r < size && (fx_stop || may_be_short))
			r = (long)size;
		fx_judge(r, (long)size, 0);
	}
	if (fx_shared->count[0])
		fx_violation("data", "%" PRIu64 " breaks in the stream", (uint64_t)fx_shared->count[0]);
	return fx_done();
}
