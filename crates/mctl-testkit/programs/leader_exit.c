/* The first thread has exited (a zombie in /proc) while another one lives on.
 *   mib  so much memory, written in small pages and aligned for huge ones: "memory ADDR LEN" says where */
#include "fixture.h"

#define HUGE (2ul << 20)

static void *worker(void *arg)
{
	size_t len = fx_number("mib", 0) << 20;

	(void)arg;
	if (len) {
		char *p = mmap(NULL, len + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		FX_NEED(p != MAP_FAILED);
		p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
		madvise(p, len, MADV_NOHUGEPAGE);
		memset(p, 1, len);
		madvise(p, len, MADV_HUGEPAGE);
		fx_say("memory %#lx %zu", (unsigned long)p, len);
	}
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
