/* futex wait on a shared word; op=wait or op=bitset (absolute timeouts, as pthread_cond uses). */
#include "fixture.h"
#include <linux/futex.h>

static void post(uint64_t seq)
{
	fx_shared->word = (uint32_t)seq;
	syscall(SYS_futex, &fx_shared->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

int main(int argc, char **argv)
{
	bool bitset;
	uint32_t seen = 0;
	bool owed = false;

	fx_init(argc, argv, "futex_wait");
	bitset = !strcmp(fx_word("op", "wait"), "bitset");
	fx_feed(post);
	fx_ready(SYS_futex);
	while (!fx_stop) {
		uint64_t from = fx_now();
		struct timespec t = fx_timespec((bitset ? from : 0) + fx_timeout_ms * FX_MS);
		long r = FX_CALL(SYS_futex, &fx_shared->word, bitset ? FUTEX_WAIT_BITSET : FUTEX_WAIT, seen, fx_timeout_ms ? &t : NULL,
				 NULL, FUTEX_BITSET_MATCH_ANY);
		uint32_t word = fx_shared->word;

		/* An absolute time counts from when it was made, and the call may begin much later. */
		if (bitset)
			fx_t0 = from;
		/* The next post may stamp later than our clock's reading. */
		uint64_t now = fx_now(), stamp = fx_shared->ns;

		/* EAGAIN: the word changed before we slept; as good as a wake-up. */
		bool again = r == -EAGAIN && word != seen;
		if (again)
			r = 0;
		if (fx_judge(r, 0, -ETIMEDOUT) != FX_EVENT)
			continue;
		if (word == seen && !owed)
			fx_violation("early", "woken though the word is still %u", seen);
		else if (word != seen && now > stamp && now - stamp > fx_late_ms * FX_MS && word == fx_shared->posted)
			fx_violation("late", "wake-up lost");
		/* The wake-up of a word that we read before it may come later. */
		owed = again || word != seen + 1;
		seen = word;
	}
	return fx_done();
}
