/* pthread_cond_wait and _timedwait through the C library, between two processes. Needs every > 0. */
#include "fixture.h"

struct box {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint64_t posted;
};
static struct box *box;

static void post(uint64_t seq)
{
	pthread_mutex_lock(&box->lock);
	box->posted = seq;
	pthread_cond_signal(&box->cond);
	pthread_mutex_unlock(&box->lock);
}

int main(int argc, char **argv)
{
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	uint64_t seen = 0;

	fx_init(argc, argv, "pthread_cond");
	if (!fx_every_ms)
		fx_skip("pthread_cond needs every > 0: a condition wait cannot be interrupted");
	box = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FX_NEED(box != MAP_FAILED);
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&box->lock, &ma);
	pthread_condattr_init(&ca);
	pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
	pthread_cond_init(&box->cond, &ca);
	fx_feed(post);
	fx_ready(SYS_futex);
	while (!fx_stop) {
		struct timespec t;
		int r = 0;

		pthread_mutex_lock(&box->lock);
		fx_t0 = fx_now();
		t = fx_timespec(fx_t0 + fx_timeout_ms * FX_MS);
		while (!fx_stop && r == 0 && box->posted == seen)
			r = fx_timeout_ms ? pthread_cond_timedwait(&box->cond, &box->lock, &t) : pthread_cond_wait(&box->cond, &box->lock);
		fx_t1 = fx_now();
		/* The feeder may be at its next post by now: what it stamps then is later than our clock's reading. */
		uint64_t stamp = fx_shared->ns;
		if (!fx_timeout_ms && !fx_stop && box->posted != seen + 1 && fx_t1 > stamp && fx_t1 - stamp > fx_late_ms * FX_MS)
			fx_violation("late", "post %" PRIu64 " seen after %" PRIu64, box->posted, seen);
		seen = box->posted;
		pthread_mutex_unlock(&box->lock);
		fx_judge(-r, 0, -ETIMEDOUT);
	}
	return fx_done();
}
