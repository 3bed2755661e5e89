/* A blocking read from inotify: one event per file that the feeder makes, by name and in order. Never restarted. */
#include "fixture.h"
#include <sys/inotify.h>
#include <sys/stat.h>

static void post(uint64_t seq)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "watched/%" PRIu64, seq);
	fd = open(name, O_CREAT | O_WRONLY, 0600);
	FX_NEED(fd >= 0);
	close(fd);
	unlink(name);
}

int main(int argc, char **argv)
{
	union {
		struct inotify_event ev;
		char space[sizeof(struct inotify_event) + 256];
	} buf;
	uint64_t last = 0;
	int fd = inotify_init1(0);

	fx_init(argc, argv, "read_inotify");
	mkdir("watched", 0700);
	FX_NEED(fd >= 0 && inotify_add_watch(fd, "watched", IN_CREATE) >= 0);
	fx_feed(post);
	fx_ready(SYS_read);
	while (!fx_stop) {
		long r = FX_CALL(SYS_read, fd, &buf, sizeof(buf));
		char *p = buf.space;

		if (fx_judge(r > 0 ? 1 : r, 1, 0) != FX_EVENT)
			continue;
		while (p < buf.space + r) {
			struct inotify_event *ev = (struct inotify_event *)p;
			uint64_t seq = strtoull(ev->name, NULL, 10);

			if (seq != last + 1)
				fx_violation("data", "event %" PRIu64 " after %" PRIu64, seq, last);
			last = seq;
			fx_check_posted();
			p += sizeof(*ev) + ev->len;
		}
	}
	rmdir("watched");
	return fx_done();
}
