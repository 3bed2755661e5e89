/*
 * The stock backend's hands: a small static program that carries out steps inside itself.
 *
 * It is told what to do over a Unix socket, in records of eight 64-bit words, and answers each
 * with one word: the result, or an error number below zero. Whoever is made by a step connects
 * on its own and says who it is. It uses no C library, no heap and no errno, so that its address
 * space is the same every time and a task that shares it disturbs nobody. No static data holds an
 * address: nothing has to be relocated when it starts.
 */
#define _GNU_SOURCE
#include <asm/sigcontext.h>
#include <asm/signal.h>
#include <asm/ucontext.h>
#include <linux/personality.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/un.h>
#include <stddef.h>
#include <sys/syscall.h>

#define SOCK_STREAM 1

enum { OP_SYSCALL, OP_TOUCH, OP_CLONE, OP_EXEC, OP_POKE, OP_FILL };
enum { KIND_FORK, KIND_VFORK, KIND_VM, KIND_THREAD };

typedef unsigned long word;

static word scratch[8192];
static char stacks[16][65536] __attribute__((aligned(16)));
static unsigned next_stack;
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

/* The compiler calls these by itself. */
void *memmove(void *to, const void *from, size_t len)
{
	char *t = to;
	const char *f = from;

	if (t < f) {
		while (len--)
			*t++ = *f++;
	} else {
		while (len--)
			t[len] = f[len];
	}
	return to;
}

void *memcpy(void *to, const void *from, size_t len)
{
	return memmove(to, from, len);
}

void *memset(void *to, int byte, size_t len)
{
	volatile char *t = to;

	while (len--)
		*t++ = (char)byte;
	return to;
}

/* What a handler that returns comes back to. */
void restorer(void);
__asm__(".pushsection .text\n"
	".hidden restorer\n"
	"restorer: mov $15, %eax\n" /* rt_sigreturn */
	"syscall\n"
	".popsection");

/* One access each: 0, or the number of the signal that it met. */
long load(word address);
long store(word address);
extern char met_a_signal[];
__asm__(".pushsection .text\n"
	".hidden load\n"
	".hidden store\n"
	".hidden met_a_signal\n"
	"load: mov (%rdi), %al\n"
	"xor %eax, %eax\n"
	"ret\n"
	"store: movb $1, (%rdi)\n"
	"xor %eax, %eax\n"
	"met_a_signal: ret\n"
	".popsection");

/* A handler's third argument is struct ucontext, whatever the flags say. */
static void on_fault(int signal, void *info, struct ucontext *context)
{
	(void)info;
	context->uc_mcontext.rax = signal;
	context->uc_mcontext.rip = (word)met_a_signal;
}

static void catch(int signal)
{
	struct {
		void (*handler)(int, void *, struct ucontext *);
		word flags;
		void (*restorer)(void);
		word mask;
	} action = { on_fault, SA_NODEFER | 0x04000000 /* SA_RESTORER */, restorer, 0 };

	sys(SYS_rt_sigaction, signal, (word)&action, 0, sizeof(action.mask), 0, 0);
}

/* A load from, or a store to, every page. -EFAULT for SIGSEGV, -ENXIO for SIGBUS. */
static long touch(word start, word len, word write)
{
	word page = start & ~4095UL;
	word end = start + (len ? len : 1);

	for (; page < end; page += 4096) {
		long signal = write ? store(page) : load(page);

		if (signal)
			return signal == SIGSEGV ? -14 : -6;
	}
	return 0;
}

/* So many mappings of a page each, side by side. Neighbours with other rights stay apart. */
static long fill(word start, word count)
{
	word i;

	for (i = 0; i < count; i++) {
		/* MAP_FIXED_NOREPLACE | MAP_ANONYMOUS | MAP_PRIVATE */
		long at = sys(SYS_mmap, start + i * 4096, 4096, i & 1, 0x100022, -1UL, 0);

		if (at < 0 && at > -4096)
			return at;
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
	int fd = sys(SYS_socket, 1 /* AF_UNIX */, SOCK_STREAM, 0, 0, 0, 0);
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

/*
 * How a task ends, in two instructions side by side: every C library has them somewhere, and a task of the
 * engine's that stands for a long call returns to them.
 */
__asm__(".pushsection .text\n"
	".globl ends\n"
	".hidden ends\n"
	"ends: mov $60, %eax\n" /* exit */
	"syscall\n"
	"hlt\n"
	".popsection");

static int serve(int fd);

static int inherited;

__attribute__((used, visibility("hidden"), noreturn)) void newborn(word name)
{
	/* A descriptor table of one's own holds a copy of the maker's connection. */
	if (inherited >= 0)
		sys(SYS_close, inherited, 0, 0, 0, 0, 0);
	serve(greet(name));
	for (;;)
		sys(SYS_exit, 0, 0, 0, 0, 0, 0);
}

/* clone(2) onto another stack. */
static long clone_onto(char *stack, word flags, word name)
{
	word *top = (word *)stack - 2;
	register word r10 __asm__("r10") = 0;
	register word r8 __asm__("r8") = 0;
	long ret;

	top[0] = name;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov (%%rsp), %%rdi\n\t"
			 "call newborn\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(SYS_clone), "D"(flags), "S"(top), "d"(0), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

/* fork(2), with a number of the caller's choice where one is given (clone3(2)). */
static long fork_as(word number)
{
	int pid = number;
	/* struct clone_args up to set_tid_size (CLONE_ARGS_SIZE_VER1). */
	word args[10] = { [4] = SIGCHLD, [8] = (word)&pid, [9] = 1 };

	if (!number)
		return sys(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
	return sys(SYS_clone3, (word)args, sizeof(args), 0, 0, 0, 0);
}

static long make(word kind, word name, word number, int fd)
{
	static const word flags[] = {
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
		pid = fork_as(number);
		if (pid == 0)
			newborn(name);
		return pid;
	}
	stack = stacks[next_stack++ % 16];
	return clone_onto(stack + sizeof(stacks[0]), flags[kind], name);
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
		/* Waits where a stop leaves a thread alone: read(2) of a socket might come back short. */
		struct { int fd; short events, revents; } order = { fd, 1 /* POLLIN */, 0 };
		size_t count, i;
		long got;

		while (sys(SYS_poll, (word)&order, 1, -1UL, 0, 0, 0) < 0)
			;
		got = sys(SYS_read, fd, (word)orders + have, sizeof(orders) - have, 0, 0, 0);
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
				results[i] = make(o[1], o[2], o[3], fd);
				break;
			case OP_EXEC:
				results[i] = again((char *)o[1], fd);
				break;
			case OP_FILL:
				results[i] = fill(o[1], o[2]);
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

static int run(int argc, char **argv)
{
	int resume = 0;
	/* That exec succeeded, and where the scratch memory is now. */
	long arrived[2] = { 0, (long)scratch };
	int i;

	door.sun_family = 1; /* AF_UNIX */
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
	catch(SIGSEGV);
	catch(SIGBUS);
	if (!resume) {
		/* Orphans come here, to be waited for; nothing outlives the harness. */
		sys(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0);
		return serve(greet(0));
	}
	put(resume, arrived, sizeof(arrived));
	return serve(resume);
}

__attribute__((used, visibility("hidden"), noreturn)) void begin(word *stack)
{
	word code = run((int)stack[0], (char **)(stack + 1));

	for (;;)
		sys(SYS_exit_group, code, 0, 0, 0, 0, 0);
}

__asm__(".pushsection .text\n"
	".globl _start\n"
	"_start: xor %ebp, %ebp\n"
	"mov %rsp, %rdi\n"
	"and $-16, %rsp\n"
	"call begin\n"
	"hlt\n"
	".popsection");
