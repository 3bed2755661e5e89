/* A blocking read from an eventfd in semaphore mode: one token per post. */
#include "fixture.h"
#include <sys/eventfd.h>

static int fd;

static void post(uint64_t seq)
{
	(void)seq;
	FX_NEED(eventfd_write(fd, 1) == 0);
}

int main(int argc, char **argv)
{
	fx_init(argc, argv, "read_eventfd");
	fd = eventfd(0, EFD_SEMAPHORE);
	FX_NEED(fd >= 0);
	fx_feed(post);
	fx_ready(SYS_read);
	while (!fx_stop) {
		uint64_t value = 0;

		if (fx_judge(FX_CALL(SYS_read, fd, &value, 8), 8, 0) != FX_EVENT)
			continue;
		if (value != 1)
			fx_violation("data", "value %" PRIu64, value);
		fx_check_posted();
	}
	return fx_done();
}
