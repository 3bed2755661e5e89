/*
 * One call that blocks for ever, or for long, of each kind that an interruption would be seen in, and of some in which
 * it would not: kind=… names it. The call must stand until SIGTERM, or return what was asked for in full. What needs
 * more than this process (a full peer, a lock's holder) is a child or a thread that does nothing else.
 *
 *   timeout=MS gives the sockets' kinds a timeout (SO_RCVTIMEO, SO_SNDTIMEO), which must then end it on time
 */
#include "fixture.h"
#include <linux/bpf.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

static int a[2], b[2];
static char buffer[1 << 16];

static void socket_timeouts(int fd)
{
	struct timeval t = { .tv_sec = (time_t)(fx_timeout_ms / 1000), .tv_usec = (suseconds_t)(fx_timeout_ms % 1000 * 1000) };

	if (!fx_timeout_ms)
		return;
	FX_NEED(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) == 0);
	FX_NEED(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)) == 0);
}

static void fill(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	FX_NEED(fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
	while (write(fd, buffer, 4096) > 0)
		;
	while (write(fd, buffer, 1) > 0)
		;
	FX_NEED(fcntl(fd, F_SETFL, flags) == 0);
}

static void streams(int pair[2])
{
	FX_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	socket_timeouts(pair[0]);
}

static int listener(struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	if (fd < 0 || bind(fd, (struct sockaddr *)at, len))
		fx_skip("no loopback: %s", strerror(errno));
	FX_NEED(getsockname(fd, (struct sockaddr *)at, &len) == 0 && listen(fd, 8) == 0);
	return fd;
}

/* A TCP connection: a[0] ours, a[1] the peer's. */
static void tcp(void)
{
	struct sockaddr_in at;
	int fd = listener(&at);

	a[0] = socket(AF_INET, SOCK_STREAM, 0);
	FX_NEED(connect(a[0], (struct sockaddr *)&at, sizeof(at)) == 0);
	a[1] = accept(fd, NULL, NULL);
	FX_NEED(a[1] >= 0);
	close(fd);
	socket_timeouts(a[0]);
}

/* A child that holds what we wait for, until we are gone. */
static void held_by_child(void (*take)(void))
{
	char c;

	FX_NEED(pipe(b) == 0);
	fx_feeder_pid = fx_fork();
	if (!fx_feeder_pid) {
		take();
		FX_NEED(write(b[1], "", 1) == 1);
		for (;;)
			pause();
	}
	FX_NEED(read(b[0], &c, 1) == 1);
}

static void hold_flock(void)
{
	FX_NEED(flock(open("blocked.lock", O_RDWR), LOCK_EX) == 0);
}

static void hold_ofd(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	FX_NEED(fcntl(open("blocked.lock", O_RDWR), F_OFD_SETLK, &l) == 0);
}

static void hold_pi(void)
{
	FX_NEED(syscall(SYS_futex, &fx_shared->word, FUTEX_LOCK_PI, 0, NULL, NULL, 0) == 0);
}

/* A ring with one completion. */
static int ring_of_one(void)
{
	struct io_uring_params p = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 4, &p);

	if (ring < 0)
		fx_skip("no io_uring: %s", strerror(errno));
	struct io_uring_sqe *sqes = mmap(NULL, p.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	char *rings = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	FX_NEED(sqes != MAP_FAILED && rings != MAP_FAILED);
	sqes[0] = (struct io_uring_sqe){ .opcode = IORING_OP_NOP };
	((uint32_t *)(rings + p.sq_off.array))[0] = 0;
	atomic_fetch_add((_Atomic uint32_t *)(rings + p.sq_off.tail), 1);
	FX_NEED(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	return ring;
}

/* A program of BPF that does nothing. */
static int bpf_nothing(void)
{
	struct bpf_insn insns[2] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K }, { .code = BPF_JMP | BPF_EXIT } };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = 2;
	attr.license = (uintptr_t)"GPL";
	int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		fx_skip("no BPF: %s", strerror(errno));
	return fd;
}

static long again(long r)
{
	atomic_fetch_add(&fx_iterations, 1);
	if (fx_timeout_ms && (r == -EAGAIN || r == -EINPROGRESS))
		fx_check_elapsed(fx_timeout_ms * FX_MS);
	else if (!fx_stop)
		fx_violation(r == -EINTR ? "spurious EINTR" : "result", "returned %ld", r);
	if (!fx_stop)
		fx_sleep_ms(1);
	return r;
}

#define FOR_EVER(nr, ...)                        \
	do {                                     \
		fx_ready(nr);                    \
		while (!fx_stop)                 \
			again(FX_CALL(nr, __VA_ARGS__)); \
	} while (0)

/* Calls that take long in the kernel: whole each time. */
#define WHOLE(nr, size, ...)                                                                             \
	do {                                                                                             \
		fx_ready(-1);                                                                            \
		while (!fx_stop) {                                                                       \
			long r = FX_CALL(nr, __VA_ARGS__);                                               \
			atomic_fetch_add(&fx_iterations, 1);                                             \
			if (r != (long)(size) && !fx_stop)                                               \
				fx_violation("short", "%ld of %ld", r, (long)(size));                    \
		}                                                                                        \
	} while (0)

int main(int argc, char **argv)
{
	struct iovec iov[2] = { { buffer, 16 }, { buffer + 16, 16 } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	struct mmsghdr many[2] = { { .msg_hdr = { .msg_iov = iov, .msg_iovlen = 1 } }, { .msg_hdr = { .msg_iov = iov + 1, .msg_iovlen = 1 } } };
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	size_t size;

	fx_init(argc, argv, "blocked");
	fx_early_ms = 12; /* sockets count in ticks */
	const char *kind = fx_word("kind", "?");
	size = (size_t)fx_number("size", 16 << 20);
#define IS(name) (!strcmp(kind, name))
	if (IS("write-stream")) {
		streams(a);
		fill(a[0]);
		FOR_EVER(SYS_write, a[0], buffer, 4096);
	} else if (IS("writev-stream")) {
		streams(a);
		fill(a[0]);
		FOR_EVER(SYS_writev, a[0], iov, 2);
	} else if (IS("send-tcp")) {
		tcp();
		fill(a[0]);
		FOR_EVER(SYS_sendto, a[0], buffer, 4096, 0, NULL, 0);
	} else if (IS("sendmsg-stream")) {
		streams(a);
		fill(a[0]);
		FOR_EVER(SYS_sendmsg, a[0], &m, 0);
	} else if (IS("read-stream")) {
		streams(a);
		FOR_EVER(SYS_read, a[0], buffer, 64);
	} else if (IS("readv-stream")) {
		streams(a);
		FOR_EVER(SYS_readv, a[0], iov, 2);
	} else if (IS("recv-waitall")) { /* half of it is there */
		tcp();
		FX_NEED(write(a[1], buffer, 8) == 8);
		FOR_EVER(SYS_recvfrom, a[0], buffer, 16, MSG_WAITALL, NULL, NULL);
	} else if (IS("recv-lowat")) {
		int most = 64;

		tcp();
		FX_NEED(setsockopt(a[0], SOL_SOCKET, SO_RCVLOWAT, &most, sizeof(most)) == 0 && write(a[1], buffer, 8) == 8);
		FOR_EVER(SYS_recvfrom, a[0], buffer, 64, 0, NULL, NULL);
	} else if (IS("recvmmsg")) { /* one of two is there */
		FX_NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, a) == 0);
		socket_timeouts(a[0]);
		FX_NEED(write(a[1], buffer, 8) == 8);
		FOR_EVER(SYS_recvmmsg, a[0], many, 2, 0, NULL);
	} else if (IS("accept4")) {
		struct sockaddr_in at;

		a[0] = listener(&at);
		socket_timeouts(a[0]);
		FOR_EVER(SYS_accept4, a[0], NULL, NULL, 0);
	} else if (IS("connect")) { /* to a listener whose queue is full */
		struct sockaddr_un at = { .sun_family = AF_UNIX };

		snprintf(at.sun_path, sizeof(at.sun_path), "%cmctl-blocked-%d", 0, (int)getpid());
		int fd = socket(AF_UNIX, SOCK_STREAM, 0), one = socket(AF_UNIX, SOCK_STREAM, 0);
		FX_NEED(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 0) == 0);
		FX_NEED(connect(one, (struct sockaddr *)&at, sizeof(at)) == 0);
		a[0] = socket(AF_UNIX, SOCK_STREAM, 0);
		socket_timeouts(a[0]);
		FOR_EVER(SYS_connect, a[0], &at, sizeof(at));
	} else if (IS("close-linger")) { /* stands until what it has sent is taken, or 60 s */
		struct linger wait = { 1, 60 };

		tcp();
		fill(a[0]);
		FX_NEED(setsockopt(a[0], SOL_SOCKET, SO_LINGER, &wait, sizeof(wait)) == 0);
		fx_ready(SYS_close);
		long r = FX_CALL(SYS_close, a[0]);
		atomic_fetch_add(&fx_iterations, 1);
		if (!fx_stop)
			fx_violation("early", "close returned %ld after %" PRIu64 " ms", r, (fx_t1 - fx_t0) / FX_MS);
	} else if (IS("splice-stream")) {
		FX_NEED(pipe(b) == 0);
		streams(a);
		FOR_EVER(SYS_splice, a[0], NULL, b[1], NULL, 64, 0);
	} else if (IS("write-pipe-large")) { /* half done */
		FX_NEED(pipe(a) == 0);
		fx_ready(SYS_write);
		static char large[1 << 18];
		long r = FX_CALL(SYS_write, a[1], large, sizeof(large));
		atomic_fetch_add(&fx_iterations, 1);
		if (!fx_stop)
			fx_violation("short", "write returned %ld", r);
	} else if (IS("vmsplice")) { /* into a pipe that is full */
		FX_NEED(pipe(a) == 0);
		fill(a[1]);
		FOR_EVER(SYS_vmsplice, a[1], iov, 2, 0);
	} else if (IS("vmsplice-read")) { /* from one that is empty */
		FX_NEED(pipe(a) == 0);
		FOR_EVER(SYS_vmsplice, a[0], iov, 2, 0);
	} else if (IS("ring-of-two")) { /* one of two completions is there: interrupted, it would say so early */
		a[0] = ring_of_one();
		FOR_EVER(SYS_io_uring_enter, a[0], 0, 2, IORING_ENTER_GETEVENTS, NULL, 0);
	} else if (IS("splice-pipe")) {
		FX_NEED(pipe(a) == 0 && pipe(b) == 0);
		FOR_EVER(SYS_splice, a[0], NULL, b[1], NULL, 64, 0);
	} else if (IS("tee")) {
		FX_NEED(pipe(a) == 0 && pipe(b) == 0);
		FOR_EVER(SYS_tee, a[0], b[1], 64, 0);
	} else if (IS("read-fifo")) {
		FX_NEED(mkfifo("blocked.fifo", 0600) == 0);
		a[0] = open("blocked.fifo", O_RDWR);
		unlink("blocked.fifo");
		FOR_EVER(SYS_read, a[0], buffer, 64);
	} else if (IS("open-fifo")) {
		FX_NEED(mkfifo("blocked.fifo", 0600) == 0);
		FOR_EVER(SYS_openat, AT_FDCWD, "blocked.fifo", O_RDONLY, 0);
	} else if (IS("readv-pipe")) {
		FX_NEED(pipe(a) == 0);
		FOR_EVER(SYS_readv, a[0], iov, 2);
	} else if (IS("write-eventfd")) {
		uint64_t most = UINT64_MAX - 1;

		a[0] = eventfd(0, 0);
		FX_NEED(write(a[0], &most, 8) == 8);
		FOR_EVER(SYS_write, a[0], &most, 8);
	} else if (IS("flock")) {
		FX_NEED(open("blocked.lock", O_RDWR | O_CREAT, 0600) >= 0);
		held_by_child(hold_flock);
		FOR_EVER(SYS_flock, open("blocked.lock", O_RDWR), LOCK_EX);
	} else if (IS("ofd")) {
		FX_NEED(open("blocked.lock", O_RDWR | O_CREAT, 0600) >= 0);
		held_by_child(hold_ofd);
		FOR_EVER(SYS_fcntl, open("blocked.lock", O_RDWR), F_OFD_SETLKW, &l);
	} else if (IS("futex-pi")) {
		held_by_child(hold_pi);
		fx_ready(SYS_futex);
		/* Restarted behind every signal handler too: only its timeout, an absolute one, ends it. */
		while (!fx_stop) {
			struct timespec end;

			clock_gettime(CLOCK_REALTIME, &end);
			end.tv_sec++;
			long r = FX_CALL(SYS_futex, &fx_shared->word, FUTEX_LOCK_PI, 0, &end, NULL, 0);

			atomic_fetch_add(&fx_iterations, 1);
			if (r != -ETIMEDOUT)
				fx_violation("result", "returned %ld", r);
			else
				fx_check_elapsed(1000 * FX_MS);
		}
	} else if (IS("futex-waitv")) {
		struct { uint64_t val, uaddr; uint32_t flags, reserved; } w = { 0, (uint64_t)(uintptr_t)&fx_shared->word, 2, 0 };

		FOR_EVER(449, &w, 1, 0, NULL, CLOCK_MONOTONIC);
	} else if (IS("pidfd-poll")) {
		held_by_child(hold_pi);
		struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, fx_feeder_pid, 0), .events = POLLIN };

		FOR_EVER(SYS_ppoll, &p, 1, NULL, NULL, 0);
	} else if (IS("ptrace-wait")) {
		fx_feeder_pid = fx_fork();
		if (!fx_feeder_pid)
			for (;;)
				pause();
		FX_NEED(syscall(SYS_ptrace, 0x4206 /* SEIZE */, fx_feeder_pid, 0, 0) == 0);
		FOR_EVER(SYS_wait4, fx_feeder_pid, NULL, 0x40000000 /* __WALL */, NULL);
	} else if (IS("sigwaitinfo")) {
		sigset_t s;

		sigemptyset(&s);
		sigaddset(&s, SIGUSR1);
		sigprocmask(SIG_BLOCK, &s, NULL);
		FOR_EVER(SYS_rt_sigtimedwait, &s, NULL, NULL, 8);
	} else if (IS("getrandom")) {
		char *large = malloc(size);

		FX_NEED(large != NULL);
		WHOLE(SYS_getrandom, size, large, size, 0);
	} else if (IS("dev-zero") || IS("dev-urandom")) {
		char *large = malloc(size);

		a[0] = open(IS("dev-zero") ? "/dev/zero" : "/dev/urandom", O_RDONLY);
		FX_NEED(large && a[0] >= 0);
		WHOLE(SYS_read, size, a[0], large, size);
	} else if (IS("bpf-run")) { /* interrupted, it would give up with EINTR */
		static char packet[64];
		union bpf_attr attr;

		memset(&attr, 0, sizeof(attr));
		attr.test.prog_fd = (uint32_t)bpf_nothing();
		attr.test.data_in = (uintptr_t)packet;
		attr.test.data_size_in = sizeof(packet);
		attr.test.repeat = (uint32_t)size;
		WHOLE(SYS_bpf, 0, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	} else if (IS("sendfile")) {
		FX_NEED((a[0] = open("blocked.data", O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0);
		FX_NEED((a[1] = open("blocked.copy", O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0 && ftruncate(a[0], (off_t)size) == 0);
		fx_ready(-1);
		while (!fx_stop) {
			off_t at = 0;

			lseek(a[1], 0, SEEK_SET);
			long r = FX_CALL(SYS_sendfile, a[1], a[0], &at, size);
			atomic_fetch_add(&fx_iterations, 1);
			if (r != (long)size && !fx_stop)
				fx_violation("short", "%ld of %zu", r, size);
		}
		unlink("blocked.data");
		unlink("blocked.copy");
	} else {
		fx_skip("no such kind: %s", kind);
	}
	return fx_done();
}
