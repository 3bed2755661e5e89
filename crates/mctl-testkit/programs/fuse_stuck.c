/*
 * A process (the "target") that the kernel will not talk about: it waits for a file system that never answers, with
 * locks of its own held (how=…):
 *   exec   in execve(2) of a file of it, which is never read: attaching to it waits (cred_guard_mutex)
 *   flush  in execve(2), on closing a descriptor of it: its files in /proc wait (exec_update_lock)
 * The file system is served by the parent, in a mount namespace of its own, so that nothing is left. Needs root.
 */
#include "fixture.h"
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/stat.h>

static int dev;
static _Atomic int reached;

static void answer(const struct fuse_in_header *in, int error, const void *data, size_t size)
{
	char out[4096];
	struct fuse_out_header head = { .len = (uint32_t)(sizeof(head) + size), .error = error, .unique = in->unique };

	memcpy(out, &head, sizeof(head));
	if (size)
		memcpy(out + sizeof(head), data, size);
	if (write(dev, out, head.len) < 0 && errno != ENOENT)
		fprintf(stderr, "answering %u: %s\n", in->opcode, strerror(errno));
}

static struct fuse_attr attributes(uint64_t node)
{
	struct fuse_attr attr = { .ino = node, .nlink = 1, .blksize = 4096 };

	attr.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0755;
	attr.size = node == FUSE_ROOT_ID ? 0 : 65536;
	return attr;
}

static void *serve(void *arg)
{
	static char buffer[1 << 17];
	const struct fuse_in_header *in = (const struct fuse_in_header *)buffer;

	(void)arg;
	for (;;) {
		ssize_t n = read(dev, buffer, sizeof(buffer));

		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n <= 0)
			return NULL;
		switch (in->opcode) {
		case FUSE_INIT: {
			struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096 };

			answer(in, 0, &out, sizeof(out));
			break;
		}
		case FUSE_LOOKUP: {
			struct fuse_entry_out out = { .nodeid = 2, .attr_valid = 3600, .entry_valid = 3600 };

			out.attr = attributes(2);
			answer(in, 0, &out, sizeof(out));
			break;
		}
		case FUSE_GETATTR: {
			struct fuse_attr_out out = { .attr_valid = 3600 };

			out.attr = attributes(in->nodeid);
			answer(in, 0, &out, sizeof(out));
			break;
		}
		case FUSE_OPEN: {
			struct fuse_open_out out = { .fh = 1 };

			answer(in, 0, &out, sizeof(out));
			break;
		}
		case FUSE_READ:
		case FUSE_FLUSH:
			/* Never. */
			reached = 1;
			break;
		case FUSE_INTERRUPT:
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_RELEASE:
			break;
		default:
			answer(in, -ENOSYS, NULL, 0);
		}
	}
}

int main(int argc, char **argv)
{
	char options[128], path[128];
	pthread_t thread;

	fx_init(argc, argv, "fuse_stuck");
	const char *how = fx_word("how", "exec");

	if (geteuid() || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		fx_skip("needs root: %s", strerror(errno));
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		fx_skip("no /dev/fuse: %s", strerror(errno));
	FX_NEED(mkdir("stuck", 0755) == 0);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", dev);
	if (mount("stuck", "stuck", "fuse.stuck", MS_NODEV, options))
		fx_skip("no FUSE: %s", strerror(errno));
	FX_NEED(pthread_create(&thread, NULL, serve, NULL) == 0);
	snprintf(path, sizeof(path), "stuck/file");

	pid_t child = fork();
	FX_NEED(child >= 0);
	if (!child) {
		char *const words[] = { "sleep", "1000", NULL };

		FX_PR_SET_PDEATHSIG_KILL();
		/* Else it would keep its own server alive: a wait that has been read ends with that only. */
		close(dev);
		if (!strcmp(how, "flush")) {
			FX_NEED(open(path, O_RDONLY | O_CLOEXEC) >= 0);
			execv("/bin/sleep", words);
		}
		execv(path, words);
		_exit(1);
	}
	while (!reached)
		fx_sleep_ms(1);
	fx_say("target %d", child);
	fx_say("ready any");
	while (!fx_stop)
		pause();
	kill(child, SIGKILL);
	/* A request that was read waits on even then: this ends the connection. */
	umount2("stuck", MNT_FORCE);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	umount2("stuck", MNT_DETACH);
	fx_iterations++;
	return fx_done();
}
