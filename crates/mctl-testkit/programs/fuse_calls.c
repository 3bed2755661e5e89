/*
 * Calls on a file system in user space whose server honours interrupts: a request that is interrupted is answered with
 * EINTR at once, so the call returns that. Until SIGTERM none may. kind=…: pread, preadv, write, open, stat, unlink,
 * mkdir, fsync; or dev: the server's own read of /dev/fuse, with nothing to serve.
 *
 * The request in question is answered after every=MS (0: never, unless interrupted); all others at once. The server is a
 * child, and the mount is in a mount namespace of our own, so that nothing is left. Needs root.
 */
#include "fixture.h"
#include <linux/fuse.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define FILE_NODE 2
#define SIZE 4096

static int dev;
static uint32_t delayed;
static uint64_t held, due; /* the request that is not answered yet, and when it is to be */
static uint32_t held_size;

static void answer(uint64_t unique, int error, const void *data, size_t size)
{
	static char out[SIZE + 256];
	struct fuse_out_header head = { .len = (uint32_t)(sizeof(head) + size), .error = error, .unique = unique };

	memcpy(out, &head, sizeof(head));
	if (size)
		memcpy(out + sizeof(head), data, size);
	if (write(dev, out, head.len) < 0 && errno != ENOENT)
		fprintf(stderr, "answering: %s\n", strerror(errno));
}

static struct fuse_attr attributes(uint64_t node)
{
	struct fuse_attr attr = { .ino = node, .nlink = 2, .blksize = SIZE };

	attr.mode = node == FILE_NODE ? S_IFREG | 0644 : S_IFDIR | 0755;
	attr.size = node == FILE_NODE ? 65536 : 0;
	return attr;
}

/* What a request comes to, when its time has come. */
static void serve(uint32_t opcode, uint64_t unique, uint64_t node, uint32_t size, const char *name)
{
	static char data[SIZE];

	switch (opcode) {
	case FUSE_INIT: {
		struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = SIZE };

		answer(unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_LOOKUP:
	case FUSE_MKDIR: {
		/* Looked up again each time: nothing is valid for any time. A new directory is not there before. */
		struct fuse_entry_out out = { .nodeid = FILE_NODE };

		if (opcode == FUSE_LOOKUP && !strcmp(name, "new")) {
			answer(unique, -ENOENT, NULL, 0);
			break;
		}
		if (opcode == FUSE_MKDIR)
			out.nodeid = 1000 + unique;
		out.attr = attributes(out.nodeid);
		answer(unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_GETATTR: {
		struct fuse_attr_out out = { .attr = attributes(node) };

		answer(unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_OPEN: {
		struct fuse_open_out out = { .fh = 1, .open_flags = FOPEN_DIRECT_IO };

		answer(unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_READ:
		memset(data, 'r', sizeof(data));
		answer(unique, 0, data, size < SIZE ? size : SIZE);
		break;
	case FUSE_WRITE: {
		struct fuse_write_out out = { .size = size };

		answer(unique, 0, &out, sizeof(out));
		break;
	}
	case FUSE_UNLINK:
	case FUSE_FSYNC:
	case FUSE_RELEASE:
		answer(unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		answer(unique, -ENOSYS, NULL, 0);
	}
}

static void serve_for_ever(void)
{
	static char buffer[1 << 17];
	const struct fuse_in_header *in = (const struct fuse_in_header *)buffer;

	for (;;) {
		struct pollfd p = { .fd = dev, .events = POLLIN };
		uint64_t now = fx_now();
		uint32_t size = 0;

		if (held && fx_every_ms && now >= due) {
			serve(delayed, held, FILE_NODE, held_size, "file");
			held = 0;
		}
		int timeout = held && fx_every_ms ? (int)((due - now) / FX_MS) + 1 : -1;
		if (poll(&p, 1, timeout) <= 0)
			continue;
		ssize_t n = read(dev, buffer, sizeof(buffer));
		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n <= 0)
			_exit(0);
		if (in->opcode == FUSE_READ)
			size = ((const struct fuse_read_in *)(in + 1))->size;
		if (in->opcode == FUSE_WRITE)
			size = ((const struct fuse_write_in *)(in + 1))->size;
		if (in->opcode == FUSE_INTERRUPT) {
			/* Honoured: what was asked for is given up. */
			if (held && ((const struct fuse_interrupt_in *)(in + 1))->unique == held) {
				answer(held, -EINTR, NULL, 0);
				held = 0;
			}
			continue;
		}
		if (in->opcode == delayed) {
			held = in->unique;
			held_size = size;
			due = fx_now() + fx_every_ms * FX_MS;
			continue;
		}
		const char *name = in->opcode == FUSE_LOOKUP ? (const char *)(in + 1) : "";
		serve(in->opcode, in->unique, in->nodeid, size, name);
	}
}

static void judge(long r, long wanted)
{
	atomic_fetch_add(&fx_iterations, 1);
	if (r == wanted || fx_stop)
		return;
	fx_violation(r == -EINTR ? "spurious EINTR" : "result", "returned %ld instead of %ld", r, wanted);
	fx_sleep_ms(1);
}

int main(int argc, char **argv)
{
	static char data[SIZE];
	struct iovec iov[2] = { { data, SIZE / 2 }, { data + SIZE / 2, SIZE / 2 } };
	char options[128];
	struct stat st;

	fx_init(argc, argv, "fuse_calls");
	const char *kind = fx_word("kind", "pread");
	if (geteuid() || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		fx_skip("needs root: %s", strerror(errno));
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		fx_skip("no /dev/fuse: %s", strerror(errno));
	FX_NEED(mkdir("served", 0755) == 0);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", dev);
	if (mount("served", "served", "fuse.served", MS_NODEV, options))
		fx_skip("no FUSE: %s", strerror(errno));
#define IS(name) (!strcmp(kind, name))
	delayed = IS("pread") || IS("preadv") ? FUSE_READ : IS("write") ? FUSE_WRITE : IS("open") ? FUSE_OPEN :
		  IS("stat") ? FUSE_GETATTR : IS("unlink") ? FUSE_UNLINK : IS("mkdir") ? FUSE_MKDIR :
		  IS("fsync") ? FUSE_FSYNC : 0;
	if (IS("dev")) {
		static char large[1 << 17];

		FX_NEED(read(dev, large, sizeof(large)) > 0); /* INIT */
		struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = SIZE };
		answer(((struct fuse_in_header *)large)->unique, 0, &out, sizeof(out));
		fx_ready(SYS_read);
		while (!fx_stop)
			judge(FX_CALL(SYS_read, dev, large, sizeof(large)), 0);
		umount2("served", MNT_DETACH);
		return fx_done();
	}
	FX_NEED(delayed != 0);
	fx_feeder_pid = fx_fork();
	if (!fx_feeder_pid)
		serve_for_ever();
	close(dev);
	/* What the kind needs is opened before its requests are held up. */
	int fd = IS("open") || IS("stat") ? -1 : open("served/file", O_RDWR);
	FX_NEED(fd >= 0 || IS("open") || IS("stat"));
	fx_ready(-1);
	while (!fx_stop) {
		if (IS("pread")) {
			memset(data, 0, sizeof(data));
			judge(FX_CALL(SYS_pread64, fd, data, SIZE, 0), SIZE);
			if (!fx_stop && (data[0] != 'r' || data[SIZE - 1] != 'r'))
				fx_violation("data", "not what is in the file");
		} else if (IS("preadv")) {
			judge(FX_CALL(SYS_preadv, fd, iov, 2, 0, 0), SIZE);
		} else if (IS("write")) {
			judge(FX_CALL(SYS_pwrite64, fd, data, SIZE, 0), SIZE);
		} else if (IS("open")) {
			long r = FX_CALL(SYS_openat, AT_FDCWD, "served/file", O_RDONLY, 0);

			judge(r < 0 ? r : 0, 0);
			if (r >= 0)
				close((int)r);
		} else if (IS("stat")) {
			judge(FX_CALL(SYS_newfstatat, AT_FDCWD, "served/file", &st, 0), 0);
		} else if (IS("unlink")) {
			judge(FX_CALL(SYS_unlinkat, AT_FDCWD, "served/file", 0), 0);
		} else if (IS("mkdir")) {
			judge(FX_CALL(SYS_mkdirat, AT_FDCWD, "served/new", 0755), 0);
		} else {
			judge(FX_CALL(SYS_fsync, fd), 0);
		}
	}
	umount2("served", MNT_DETACH);
	return fx_done();
}
