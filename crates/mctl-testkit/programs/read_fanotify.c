/* A blocking read from fanotify: one event per file that the feeder closes after writing. Needs root. */
#include "fixture.h"
#include <sys/fanotify.h>

static int file;

static void post(uint64_t seq)
{
	int fd = open("watched", O_WRONLY);

	(void)seq;
	FX_NEED(fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
}

int main(int argc, char **argv)
{
	struct fanotify_event_metadata buf[64];
	int fd;

	fx_init(argc, argv, "read_fanotify");
	fd = fanotify_init(FAN_CLASS_NOTIF | FAN_UNLIMITED_QUEUE, O_RDONLY);
	if (fd < 0)
		fx_skip("no fanotify: %s", strerror(errno));
	file = open("watched", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	FX_NEED(file >= 0);
	if (fanotify_mark(fd, FAN_MARK_ADD, FAN_CLOSE_WRITE, AT_FDCWD, "watched"))
		fx_skip("no fanotify on this file system: %s", strerror(errno));
	fx_feed(post);
	fx_ready(SYS_read);
	while (!fx_stop) {
		long r = FX_CALL(SYS_read, fd, buf, sizeof(buf));

		/* Equal events that nobody has read yet are merged, so each return is judged, not each post. */
		if (fx_judge(r > 0 ? 1 : r, 1, 0) != FX_EVENT)
			continue;
		if (!(buf[0].mask & FAN_CLOSE_WRITE))
			fx_violation("data", "mask %#llx", (unsigned long long)buf[0].mask);
		fx_check_posted();
		for (struct fanotify_event_metadata *e = buf; FAN_EVENT_OK(e, r); e = FAN_EVENT_NEXT(e, r))
			if (e->fd >= 0)
				close(e->fd);
	}
	unlink("watched");
	return fx_done();
}
