/* msgrcv from an empty System V queue. */
#include "fixture.h"
#include <sys/msg.h>

static int id;
struct message {
	long type;
	struct fx_stamp s;
};

static void post(uint64_t seq)
{
	struct message m = { 1, { seq, fx_now() } };

	FX_NEED(msgsnd(id, &m, sizeof(m.s), 0) == 0);
}

int main(int argc, char **argv)
{
	fx_init(argc, argv, "msgrcv");
	unshare(CLONE_NEWIPC); /* see semop.c */
	id = msgget(IPC_PRIVATE, 0600);
	if (id < 0)
		fx_skip("no System V message queues: %s", strerror(errno));
	fx_feed(post);
	fx_ready(SYS_msgrcv);
	while (!fx_stop) {
		struct message m = { 0, { 0, 0 } };

		if (fx_judge(FX_CALL(SYS_msgrcv, id, &m, sizeof(m.s), 0, 0), sizeof(m.s), 0) == FX_EVENT)
			fx_check_stamp(m.s);
	}
	msgctl(id, IPC_RMID, NULL);
	return fx_done();
}
