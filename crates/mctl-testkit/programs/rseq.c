/*
 * Restartable sequences: "threads" threads (default 2) on one CPU add to a counter without atomics,
 * each addition being a critical section with a pause in its middle. The kernel promises to abort a
 * section that was preempted; where one goes on all the same, an addition of the other thread is lost.
 */
#include "fixture.h"

#if !defined(__x86_64__) || !__has_include(<sys/rseq.h>)
int main(int argc, char **argv)
{
	fx_init(argc, argv, "rseq");
	fx_skip("needs x86-64 and a C library that registers rseq");
}
#else
#include <sys/rseq.h>

static volatile uint64_t counter;
static _Atomic uint64_t additions, aborts;
static uint64_t pause_turns;

static struct rseq *area(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* One attempt; false: aborted. The last instruction of the section is the store that commits. */
static bool add_one(struct rseq *rs)
{
	uint64_t value, turns = pause_turns;

	__asm__ volatile goto(".pushsection __rseq_cs, \"aw\"\n"
		     "	.balign 32\n"
		     "9:	.long 0, 0\n"
		     "	.quad 1f, 2f - 1f, 4f\n"
		     ".popsection\n"
		     "	leaq 9b(%%rip), %%rax\n"
		     "	movq %%rax, %c[cs](%[rs])\n"
		     "1:	movq counter(%%rip), %[value]\n"
		     "	incq %[value]\n"
		     "3:	pause\n	decq %[turns]\n	jnz 3b\n"
		     "	movq %[value], counter(%%rip)\n"
		     "2:	jmp 5f\n"
		     /* The kernel demands the signature in front of the abort handler. */
		     "	.byte 0x0f, 0xb9, 0x3d\n	.long 0x53053053\n"
		     "4:	jmp %l[aborted]\n"
		     "5:\n"
		     : [value] "=&r"(value), [turns] "+&r"(turns)
		     : [rs] "r"(rs), [cs] "i"(offsetof(struct rseq, rseq_cs))
		     : "rax", "memory", "cc"
		     : aborted);
	return true;
aborted:
	return false;
}

static void *work(void *arg)
{
	struct rseq *rs = area();

	(void)arg;
	while (!fx_stop) {
		while (!add_one(rs))
			aborts++;
		additions++;
		fx_iterations++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	cpu_set_t one;
	pthread_t t[64];

	fx_init(argc, argv, "rseq");
	uint64_t threads = fx_number("threads", 2);
	pause_turns = fx_number("pause", 200);
	FX_NEED(threads && threads <= 64);
	if (!__rseq_size)
		fx_skip("rseq is not registered");
	/* One CPU that we may use: only preemption can mix the sections. */
	FX_NEED(sched_getaffinity(0, sizeof(one), &one) == 0);
	int cpu = 0;
	while (!CPU_ISSET(cpu, &one))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	FX_NEED(sched_setaffinity(0, sizeof(one), &one) == 0);
	fx_ready(-1);
	for (uint64_t i = 1; i < threads; i++)
		FX_NEED(pthread_create(&t[i], NULL, work, NULL) == 0);
	work(NULL);
	for (uint64_t i = 1; i < threads; i++)
		pthread_join(t[i], NULL);
	fx_iterations = additions;
	if (counter != additions)
		fx_violation("data", "counter %" PRIu64 " after %" PRIu64 " additions (%" PRIu64 " aborts)", counter, (uint64_t)additions,
			     (uint64_t)aborts);
	return fx_done();
}
#endif
