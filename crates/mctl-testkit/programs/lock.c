/* flock (op=flock) or fcntl F_SETLKW (op=fcntl): the feeder holds the lock and lets go of it now and then. */
#include "fixture.h"
#include <sys/file.h>

static bool by_fcntl;
static int to_feeder[2], to_us[2];

static long take(int fd, bool checked)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (checked)
		return by_fcntl ? FX_CALL(SYS_fcntl, fd, F_SETLKW, &l) : FX_CALL(SYS_flock, fd, LOCK_EX);
	return by_fcntl ? fcntl(fd, F_SETLKW, &l) : flock(fd, LOCK_EX);
}

static void release(int fd)
{
	struct flock l = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	FX_NEED((by_fcntl ? fcntl(fd, F_SETLK, &l) : flock(fd, LOCK_UN)) == 0);
}

static void holder(void)
{
	int fd = open("lock.held", O_RDWR);
	char c = 0;

	for (uint64_t seq = 1;; seq++) {
		FX_NEED(fd >= 0 && take(fd, false) == 0);
		FX_NEED(write(to_us[1], &c, 1) == 1); /* held */
		fx_sleep_ms(fx_every_ms ? fx_every_ms : 3600000);
		fx_shared->ns = fx_now();
		fx_shared->posted = seq;
		release(fd);
		FX_NEED(read(to_feeder[0], &c, 1) == 1); /* it had its turn */
	}
}

static bool wait_held(void)
{
	char c;

	while (read(to_us[0], &c, 1) != 1)
		if (fx_stop)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	int fd = open("lock.held", O_RDWR | O_CREAT, 0600);

	fx_init(argc, argv, "lock");
	by_fcntl = !strcmp(fx_word("op", "flock"), "fcntl");
	FX_NEED(fd >= 0 && pipe(to_feeder) == 0 && pipe(to_us) == 0);
	fx_feeder_pid = fx_fork();
	if (!fx_feeder_pid)
		holder();
	fx_ready(by_fcntl ? SYS_fcntl : SYS_flock);
	while (!fx_stop && wait_held()) {
		enum fx_outcome o;

		do
			o = fx_judge(take(fd, true), 0, 0);
		while (o == FX_BAD && !fx_stop);
		if (o != FX_EVENT)
			break;
		fx_check_posted();
		release(fd);
		FX_NEED(write(to_feeder[1], "", 1) == 1);
	}
	unlink("lock.held");
	return fx_done();
}
