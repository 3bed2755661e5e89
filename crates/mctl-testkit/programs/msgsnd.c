/* msgsnd to a full System V queue; the feeder takes one message at a time and checks their order. */
#include "fixture.h"
#include <sys/msg.h>

static int id;
struct message {
	long type;
	uint64_t seq;
	char fill[1016];
};

static void take(uint64_t seq)
{
	struct message m;

	FX_NEED(msgrcv(id, &m, sizeof(m) - sizeof(long), 0, 0) == (ssize_t)(sizeof(m) - sizeof(long)));
	if (m.seq != seq)
		fx_shared->count[0]++;
}

int main(int argc, char **argv)
{
	struct message m = { .type = 1 };

	fx_init(argc, argv, "msgsnd");
	unshare(CLONE_NEWIPC); /* see semop.c */
	id = msgget(IPC_PRIVATE, 0600);
	if (id < 0)
		fx_skip("no System V message queues: %s", strerror(errno));
	do
		m.seq++;
	while (msgsnd(id, &m, sizeof(m) - sizeof(long), IPC_NOWAIT) == 0);
	fx_feed(take);
	fx_ready(SYS_msgsnd);
	while (!fx_stop) {
		if (fx_judge(FX_CALL(SYS_msgsnd, id, &m, sizeof(m) - sizeof(long), 0), 0, 0) != FX_EVENT)
			continue;
		m.seq++;
		fx_check_posted();
	}
	if (fx_shared->count[0])
		fx_violation("data", "%" PRIu64 " messages lost, doubled or out of order", (uint64_t)fx_shared->count[0]);
	msgctl(id, IPC_RMID, NULL);
	return fx_done();
}
