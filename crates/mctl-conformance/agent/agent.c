/*
 * The stock backend's hands: a small static program that carries out steps inside itself.
 *
 * It is told what to do over a Unix socket, in records of eight 64-bit words, and answers each
 * with one word: the result, or an error number below zero. Whoever is made by a step connects
 * on its own and says who it is. It uses no heap and no errno, so that its address space is the
 * same every time and a task that shares it disturbs nobody.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { OP_SYSCALL, OP_TOUCH, OP_CLONE, OP_EXEC, OP_POKE, OP_SCRATCH };
enum { KIND_FORK, KIND_VFORK, KIND_VM, KIND_THREAD };

typedef unsigned long word;

static word scratch[8192];
static char stacks[16][65536] __attribute__((aligned(16)));
static unsigned next_stack;
static sigjmp_buf landing;
static struct sockaddr_un door;

static long sys(long nr, word a, word b, word c, word d, word e, word f)
{
	long ret;
	register word r10 __asm__("r10") = d;
	register word r8 __asm__("r8") = e;
	register word r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static void on_fault(int signal)
{
	siglongjmp(landing, signal);
}

/* A load from, or a store to, every page. -EFAULT for SIGSEGV, -ENXIO for SIGBUS. */
static long touch(word start, word len, word store)
{
	volatile char *volatile page = (volatile char *)(start & ~4095UL);
	volatile char *end = (volatile char *)(start + (len ? len : 1));
	int signal = sigsetjmp(landing, 1);

	if (signal == SIGSEGV)
		return -14;
	if (signal)
		return -6;
	for (; page < end; page += 4096) {
		if (store)
			*page = 1;
		else
			(void)*page;
	}
	return 0;
}

static void put(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		long done = sys(SYS_write, fd, (word)at, len, 0, 0, 0);

		if (done <= 0)
			sys(SYS_exit, 0, 0, 0, 0, 0, 0);
		at += done;
		len -= done;
	}
}

/* Connects, and says under which name, with which numbers, and where the scratch memory is. */
static int greet(word name)
{
	int fd = sys(SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0, 0, 0);
	word hello[4];

	if (sys(SYS_connect, fd, (word)&door, sizeof(door), 0, 0, 0) < 0)
		sys(SYS_exit, 0, 0, 0, 0, 0, 0);
	hello[0] = name;
	hello[1] = sys(SYS_getpid, 0, 0, 0, 0, 0, 0);
	hello[2] = sys(SYS_gettid, 0, 0, 0, 0, 0, 0);
	hello[3] = (word)scratch;
	put(fd, hello, sizeof(hello));
	return fd;
}

static int serve(int fd);

static int inherited;

static int newborn(void *name)
{
	/* A descriptor table of one's own holds a copy of the maker's connection. */
	if (inherited >= 0)
		sys(SYS_close, inherited, 0, 0, 0, 0, 0);
	return serve(greet((word)name));
}

static long make(word kind, word name, int fd)
{
	static const int flags[] = {
		[KIND_VFORK] = CLONE_VM | CLONE_VFORK | SIGCHLD,
		[KIND_VM] = CLONE_VM | SIGCHLD,
		[KIND_THREAD] = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
				CLONE_SYSVSEM,
	};
	char *stack;
	long pid;

	if (kind > KIND_THREAD)
		return -22;
	inherited = kind == KIND_THREAD ? -1 : fd;
	if (kind == KIND_FORK) {
		pid = sys(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
		if (pid == 0) {
			newborn((void *)name);
			sys(SYS_exit_group, 0, 0, 0, 0, 0, 0);
		}
		return pid;
	}
	stack = stacks[next_stack++ % 16];
	return clone(newborn, stack + sizeof(stacks[0]), flags[kind], (void *)name);
}

static void decimal(char *out, int number)
{
	char digits[12];
	int n = 0;

	do {
		digits[n++] = '0' + number % 10;
		number /= 10;
	} while (number);
	while (n)
		*out++ = digits[--n];
	*out = 0;
}

static long again(const char *path, int fd)
{
	char number[12];
	char *argv[] = { "agent", "resume", number, door.sun_path, NULL };
	char *envp[] = { NULL };

	decimal(number, fd);
	return sys(SYS_execve, (word)path, (word)argv, (word)envp, 0, 0, 0);
}

static int serve(int fd)
{
	word orders[64][8];
	long results[64];
	size_t have = 0;

	for (;;) {
		long got = sys(SYS_read, fd, (word)orders + have, sizeof(orders) - have, 0, 0, 0);
		size_t count, i;

		if (got <= 0)
			return 0;
		have += got;
		count = have / sizeof(orders[0]);
		for (i = 0; i < count; i++) {
			word *o = orders[i];

			switch (o[0]) {
			case OP_SYSCALL:
				results[i] = sys(o[1], o[2], o[3], o[4], o[5], o[6], o[7]);
				break;
			case OP_TOUCH:
				results[i] = touch(o[1], o[2], o[3]);
				break;
			case OP_CLONE:
				results[i] = make(o[1], o[2], fd);
				break;
			case OP_EXEC:
				results[i] = again(o[1] ? (char *)o[1] : "/proc/self/exe", fd);
				break;
			case OP_POKE:
				if (o[1] < sizeof(scratch) / sizeof(scratch[0]))
					scratch[o[1]] = o[2];
				results[i] = 0;
				break;
			default:
				results[i] = -38;
			}
		}
		put(fd, results, count * sizeof(results[0]));
		have -= count * sizeof(orders[0]);
		if (have)
			__builtin_memmove(orders, (char *)orders + count * sizeof(orders[0]), have);
	}
}

static void copy(char *out, const char *in, size_t room)
{
	while (--room && *in)
		*out++ = *in++;
	*out = 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	int resume = 0;
	long zero = 0;
	int i;

	door.sun_family = AF_UNIX;
	/* A script's interpreter gets the script's name in between. */
	for (i = 1; i + 1 < argc; i++) {
		if (argv[i][0] == 'r' && i + 2 < argc) {
			const char *c = argv[i + 1];

			for (resume = 0; *c; c++)
				resume = resume * 10 + *c - '0';
			copy(door.sun_path, argv[i + 2], sizeof(door.sun_path));
			break;
		}
		if (argv[i][0] == 's')
			copy(door.sun_path, argv[i + 1], sizeof(door.sun_path));
	}
	if (!resume && !(sys(SYS_personality, 0xffffffff, 0, 0, 0, 0, 0) & ADDR_NO_RANDOMIZE)) {
		/* The same layout every time. */
		sys(SYS_personality, ADDR_NO_RANDOMIZE, 0, 0, 0, 0, 0);
		sys(SYS_execve, (word)"/proc/self/exe", (word)argv, (word)(char *[]){ NULL }, 0, 0, 0);
		return 1;
	}
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	if (!resume) {
		/* Orphans come here, to be waited for; nothing outlives the harness. */
		prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
		return serve(greet(0));
	}
	put(resume, &zero, sizeof(zero));
	return serve(resume);
}
