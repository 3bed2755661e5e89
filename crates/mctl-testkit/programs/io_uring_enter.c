/* io_uring_enter waiting for a completion: a poll on a pipe, or a timeout= of the wait itself. Never restarted.
 * ext=0: without the extended argument, which alone can hold a timeout. */
#include "fixture.h"
#include <linux/io_uring.h>
#include <poll.h>

#define ENTRIES 4

int main(int argc, char **argv)
{
	struct io_uring_params p;
	int ring, fd;

	fx_init(argc, argv, "io_uring_enter");
	memset(&p, 0, sizeof(p));
	ring = (int)syscall(SYS_io_uring_setup, ENTRIES, &p);
	if (ring < 0)
		fx_skip("no io_uring: %s", strerror(errno));
	if (!(p.features & IORING_FEAT_SINGLE_MMAP) || !(p.features & IORING_FEAT_EXT_ARG))
		fx_skip("io_uring is too old");
	size_t len = p.sq_off.array + p.sq_entries * 4;
	size_t cq_len = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	char *rings = mmap(NULL, len > cq_len ? len : cq_len, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqes = mmap(NULL, p.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	FX_NEED(rings != MAP_FAILED && sqes != MAP_FAILED);
	_Atomic uint32_t *sq_tail = (void *)(rings + p.sq_off.tail), *cq_head = (void *)(rings + p.cq_off.head),
			 *cq_tail = (void *)(rings + p.cq_off.tail);
	uint32_t sq_mask = *(uint32_t *)(rings + p.sq_off.ring_mask), cq_mask = *(uint32_t *)(rings + p.cq_off.ring_mask);
	uint32_t *array = (void *)(rings + p.sq_off.array);
	struct io_uring_cqe *cqes = (void *)(rings + p.cq_off.cqes);
	uint64_t token = 0;

	fd = fx_feed_pipe(O_NONBLOCK);
	bool plain = fx_number("ext", 1) == 0;

	fx_ready(SYS_io_uring_enter);
	while (!fx_stop) {
		struct timespec t = fx_timespec(fx_timeout_ms * FX_MS);
		struct io_uring_getevents_arg arg = { .ts = fx_timeout_ms ? (uint64_t)&t : 0 };

		/* The poll is submitted on its own, so that the tested call does nothing but wait. */
		if (!fx_timeout_ms || !token) {
			uint32_t tail = *sq_tail, i = tail & sq_mask;

			sqes[i] = (struct io_uring_sqe){ .opcode = IORING_OP_POLL_ADD, .fd = fd, .poll32_events = POLLIN, .user_data = ++token };
			array[i] = i;
			*sq_tail = tail + 1;
			FX_NEED(syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1);
		}
		if (fx_judge(plain ? FX_CALL(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0)
			      : FX_CALL(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof(arg)), 0,
			     -ETIME) != FX_EVENT)
			continue;
		uint32_t head = *cq_head;
		if (head == *cq_tail) {
			fx_violation("early", "returned without a completion");
			continue;
		}
		struct io_uring_cqe c = cqes[head & cq_mask];
		*cq_head = head + 1;
		if (c.user_data != token || !(c.res & POLLIN))
			fx_violation("data", "completion %llu res %d", (unsigned long long)c.user_data, c.res);
		fx_take_stamp(fd);
	}
	return fx_done();
}
