/* mq_timedreceive from an empty POSIX queue; its timeout is absolute (CLOCK_REALTIME). */
#include "fixture.h"
#include <mqueue.h>

static mqd_t q;

static void post(uint64_t seq)
{
	struct fx_stamp s = { seq, fx_now() };

	FX_NEED(mq_send(q, (char *)&s, sizeof(s), 0) == 0);
}

int main(int argc, char **argv)
{
	struct mq_attr attr = { .mq_maxmsg = 8, .mq_msgsize = sizeof(struct fx_stamp) };
	char name[64];

	fx_init(argc, argv, "mq_timedreceive");
	unshare(CLONE_NEWIPC); /* see semop.c */
	snprintf(name, sizeof(name), "/mctl-testkit-%d", getpid());
	q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	if (q < 0)
		fx_skip("no POSIX message queues: %s", strerror(errno));
	mq_unlink(name);
	fx_feed(post);
	fx_ready(SYS_mq_timedreceive);
	while (!fx_stop) {
		struct fx_stamp s = { 0, 0 };
		uint64_t from = fx_now();
		struct timespec t;
		long r;

		clock_gettime(CLOCK_REALTIME, &t);
		t = fx_timespec((uint64_t)t.tv_sec * 1000 * FX_MS + (uint64_t)t.tv_nsec + fx_timeout_ms * FX_MS);
		r = FX_CALL(SYS_mq_timedreceive, q, &s, sizeof(s), NULL, fx_timeout_ms ? &t : NULL);
		/* An absolute time counts from when it was made, and the call may begin much later. */
		fx_t0 = from;
		if (fx_judge(r, sizeof(s), -ETIMEDOUT) == FX_EVENT)
			fx_check_stamp(s);
	}
	return fx_done();
}
