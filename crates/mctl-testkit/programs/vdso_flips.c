/*
 * A hostile program: a second thread flips the bytes of the vDSO's first system-call instruction, so that whoever
 * borrows it for the sleeping first thread makes that run something else (how=…):
 *   jump   a return, by an address on the thread's stack, to code that makes a call which our seccomp filter forbids
 *   loop   a jump to itself
 *   spin   a return to an endless loop
 *   ud2    SIGILL, for which there is a handler
 *   hlt    SIGSEGV, for which there is a handler
 *   int3   SIGTRAP, for which there is a handler
 *   int80  the i386 call of that number
 *   mov    a return to code that makes the right call with another argument
 * dwell=µs: flip so seldom, not as quickly as can be. filter=0: without the filter. The forbidden call is counted in any case: a directory "escaped" appears.
 * No handler may run or be lost, and no register change.
 */
#include "fixture.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/stat.h>

#if defined(__x86_64__)
static volatile uint16_t *insn;
static uint8_t *elsewhere;
static uint16_t other;
static _Atomic int handled;
static char path[] = "escaped";

static void *flip(void *arg)
{
	uint64_t dwell = fx_number("dwell", 0);
	struct timeval timeout = { dwell / 1000000, dwell % 1000000 };
	int ends[2];
	char byte;

	(void)arg;
	/* It sleeps where it cannot be borrowed itself: then nobody would flip. */
	FX_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	FX_NEED(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0);
	for (uint16_t bytes = other; !fx_stop; bytes ^= other ^ 0x050f) {
		*insn = bytes;
		for (volatile int i = 0; i < 60; i++)
			;
		if (dwell)
			recv(ends[0], &byte, 1, 0);
	}
	*insn = 0x050f;
	return NULL;
}

static void on_signal(int sig)
{
	(void)sig;
	handled++;
}

static void check_handler(int sig)
{
	struct sigaction now;

	sigaction(sig, NULL, &now);
	if (now.sa_handler != on_signal)
		fx_violation("handler lost", "of signal %d", sig);
}

static void filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	FX_NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		fx_skip("no seccomp filters: %s", strerror(errno));
	FX_NEED(mkdir(path, 0755) == -1 && errno == EPERM);
}

/* Finds the instruction in the vDSO's image, of which no other byte may differ. */
static void prepare(const char *how)
{
	uint8_t *image = (uint8_t *)getauxval(AT_SYSINFO_EHDR), *at = NULL;
	unsigned long lo = 0, hi = 0;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "[vdso]"))
			sscanf(line, "%lx-%lx", &lo, &hi);
	if (maps)
		fclose(maps);
	if (!image || lo != (unsigned long)image)
		fx_skip("no vDSO");
	if (mprotect(image, hi - lo, PROT_READ | PROT_WRITE | PROT_EXEC))
		fx_skip("the vDSO cannot be made writable: %s", strerror(errno));
	for (uint8_t *p = image; p + 8 < (uint8_t *)hi && !at; p++)
		if (p[0] == 0x0f && p[1] == 0x05)
			at = p;
	FX_NEED(at);
	elsewhere = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FX_NEED(elsewhere != MAP_FAILED);

	if (!strcmp(how, "mov")) {
		/* mov $0, %esi; syscall; jmp . */
		uint8_t body[] = { 0xbe, 0, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xfe };
		memcpy(elsewhere, body, sizeof(body));
	} else if (!strcmp(how, "spin")) {
		/* jmp . */
		memcpy(elsewhere, "\xeb\xfe", 2);
	} else {
		/* mov $SYS_mkdir, %eax; movabs $path, %rdi; mov $0755, %esi; syscall; jmp . */
		uint8_t body[] = { 0xb8, SYS_mkdir, 0, 0, 0, 0x48, 0xbf, 0, 0, 0, 0, 0, 0, 0, 0,
				   0xbe, 0xed, 1, 0, 0, 0x0f, 0x05, 0xeb, 0xfe };
		char *p = path;
		memcpy(body + 7, &p, 8);
		memcpy(elsewhere, body, sizeof(body));
	}
	insn = (volatile uint16_t *)at;

	static const struct {
		const char *name;
		uint16_t bytes;
	} kinds[] = {
		/* ret; nop: what the thread has on its stack is the address of code of ours. */
		{ "jump", 0x90c3 }, { "mov", 0x90c3 },	{ "spin", 0x90c3 },  { "loop", 0xfeeb },
		{ "ud2", 0x0b0f },  { "hlt", 0x90f4 }, { "int3", 0x90cc }, { "int80", 0x80cd },
	};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(how, kinds[i].name))
			other = kinds[i].bytes;
	FX_NEED(other);
}

/* A read with an address of our choice on top of the stack (and below the red zone). */
static long read_with(int fd, char *byte, void *top)
{
	long r = SYS_read;

	__asm__ volatile("lea -128(%%rsp), %%rsp\n"
			 "push %[top]\n"
			 "syscall\n"
			 "lea 136(%%rsp), %%rsp\n"
			 : "+a"(r)
			 : "D"((long)fd), "S"(byte), "d"(1L), [top] "r"(top)
			 : "rcx", "r11", "memory");
	return r;
}

#endif

int main(int argc, char **argv)
{
	fx_init(argc, argv, "vdso_flips");
#if defined(__x86_64__)
	static const int raised[] = { SIGILL, SIGSEGV, SIGTRAP, SIGBUS, SIGFPE, SIGSYS };
	int ends[2];
	pthread_t thread;

	for (size_t i = 0; i < sizeof(raised) / sizeof(raised[0]); i++)
		fx_handle(raised[i], on_signal);
	prepare(fx_word("how", "jump"));
	FX_NEED(pipe(ends) == 0);
	/* Not root: what it may not do must not succeed by privilege either. */
	if (getuid() == 0)
		FX_NEED(chmod(".", 0777) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	FX_PR_SET_PDEATHSIG_KILL();
	if (fx_number("filter", 1))
		filter();
	FX_NEED(pthread_create(&thread, NULL, flip, NULL) == 0);
	fx_ready(SYS_read);
	while (!fx_stop) {
		char byte;
		long r = read_with(ends[0], &byte, elsewhere);

		if (r != -EINTR || !fx_stop)
			fx_violation("result", "returned %ld", r);
	}
	fx_iterations++;
	pthread_join(thread, NULL);
	for (size_t i = 0; i < sizeof(raised) / sizeof(raised[0]); i++)
		check_handler(raised[i]);
	if (handled)
		fx_violation("signal", "%d handlers have run", handled);
	if (access(path, F_OK) == 0)
		fx_violation("escaped", "a call that was never ours was made");
	return fx_done();
#else
	fx_skip("written for x86-64");
#endif
}
