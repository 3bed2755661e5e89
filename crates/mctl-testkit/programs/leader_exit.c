/* The first thread has exited (a zombie in /proc) while another one lives on. */
#include "fixture.h"

static void *worker(void *arg)
{
	(void)arg;
	fx_sleep_ms(20);
	fx_ready(SYS_nanosleep);
	while (!fx_stop)
		fx_nap();
	exit(fx_done());
}

int main(int argc, char **argv)
{
	pthread_t t;

	fx_init(argc, argv, "leader_exit");
	FX_NEED(pthread_create(&t, NULL, worker, NULL) == 0);
	/* Only this thread: the C library's pthread_exit would wait for nothing, but runs destructors. */
	syscall(SYS_exit, 0);
	return 0;
}
