/* semop and semtimedop (op=timed, or timeout=) on a System V semaphore. Never restarted. */
#include "fixture.h"
#include <sys/sem.h>

static int id;

static void post(uint64_t seq)
{
	struct sembuf up = { .sem_op = 1 };

	(void)seq;
	FX_NEED(semop(id, &up, 1) == 0);
}

int main(int argc, char **argv)
{
	struct sembuf down = { .sem_op = -1 };
	bool timed;

	fx_init(argc, argv, "semop");
	timed = fx_timeout_ms || !strcmp(fx_word("op", ""), "timed");
	/* In an IPC namespace of its own nothing can leak, even if it is killed. Only root may. */
	unshare(CLONE_NEWIPC);
	id = semget(IPC_PRIVATE, 1, 0600);
	if (id < 0)
		fx_skip("no System V semaphores: %s", strerror(errno));
	fx_feed(post);
	fx_ready(timed ? SYS_semtimedop : SYS_semop);
	while (!fx_stop) {
		struct timespec t = fx_timespec(fx_timeout_ms * FX_MS);
		long r = timed ? FX_CALL(SYS_semtimedop, id, &down, 1, fx_timeout_ms ? &t : NULL) : FX_CALL(SYS_semop, id, &down, 1);

		if (fx_judge(r, 0, -EAGAIN) == FX_EVENT)
			fx_check_posted();
	}
	semctl(id, 0, IPC_RMID);
	return fx_done();
}
