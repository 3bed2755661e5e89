/*
 * Memory on command, one line in, one line out. Numbers as C writes them; errors are "error ERRNO".
 *   map LEN              private anonymous, 2 MiB aligned, not touched   -> map ADDR LEN
 *   shared LEN           shared anonymous                               -> map ADDR LEN
 *   memfd LEN            a mapped memfd                                 -> map ADDR LEN
 *   file LEN [PATH]      a mapped file, private                         -> map ADDR LEN
 *   hugetlb LEN          private hugetlb without reservation, not touched -> map ADDR LEN
 *   touch ADDR LEN       writes to every 4 KiB                          -> ok
 *   reserve LEN          private anonymous, nothing reserved           -> map ADDR LEN
 *   spread ADDR LEN N    writes to N pages, evenly spread              -> ok
 *   blank ADDR LEN       writes zeroes to every 4 KiB                  -> ok
 *   check ADDR LEN       verifies what touch wrote                      -> ok
 *   unmap ADDR LEN                                                     -> ok
 *   advise ADDR LEN N    madvise                                       -> ok
 *   lock ADDR LEN        mlock                                         -> ok
 *   zero ADDR LEN        verifies that all is zero                     -> ok
 *   thp                  PR_GET_THP_DISABLE                             -> thp N
 *   never                whether huge pages are forbidden, by PR_SET_THP_DISABLE or by mctl(2) where the
 *                        kernel has it (the word that /proc/self/status shows) -> never N
 *   merge                PR_GET_MEMORY_MERGE                            -> merge N
 *   setthp A B           PR_SET_THP_DISABLE                             -> ok
 *   setmerge N           PR_SET_MEMORY_MERGE                            -> ok
 *   huge ADDR            AnonHugePages of that VMA, in KiB              -> huge N
 *   smaps ADDR KEY       any line of that VMA in smaps                  -> KEY VALUE…
 *   total KEY            a line of smaps_rollup                         -> KEY VALUE…
 *   fork                 from here on the child answers                 -> fork PID
 *   exit [N]             the child ends, the parent answers again       -> reaped STATUS
 *   spawn                a child that only waits; it dies with us       -> child PID
 *   thread               a thread that only waits                       -> thread TID
 *   exec                 executes itself anew (announces itself by "ready")
 *   churn                a thread that maps and unmaps a page all the time -> ok
 *   longest              the longest that it took for one since the last answer -> longest NS
 *   newpid               unshare(CLONE_NEWPID): the next child begins a PID namespace -> ok
 *   newuser              unshare(CLONE_NEWUSER)                         -> ok
 *   child [OPTIONS]      waitpid(-1, WNOHANG and these)                 -> child PID
 *   pid                                                                -> pid PID
 * The end is end of file or SIGTERM.
 */
#include "fixture.h"

#define HUGE (2ul << 20)

/* Byte by byte: what is not read must be there for a forked child or the next image. */
static bool read_line(char *line, size_t size)
{
	size_t n = 0;

	while (n + 1 < size) {
		ssize_t r = read(0, line + n, 1);

		if (r < 0 && errno == EINTR && !fx_stop)
			continue;
		if (r <= 0)
			return false;
		if (line[n] == '\n')
			break;
		n++;
	}
	line[n] = 0;
	return true;
}

/* What a kernel that has mctl() shows of us: bit 1 is NOHUGEPAGE. */
static unsigned long policy_word(void)
{
	unsigned long word = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Mctl: %lx", &word) == 1)
			break;
	if (f)
		fclose(f);
	return word;
}

static void answer(bool ok)
{
	if (ok)
		fx_say("ok");
	else
		fx_say("error %d", errno);
}

static void answer_map(void *p, size_t len)
{
	if (p == MAP_FAILED)
		answer(false);
	else
		fx_say("map %#lx %zu", (unsigned long)p, len);
}

/* Aligned, with what was too much given back. */
static void *map_aligned(size_t len, int flags, int fd)
{
	char *p = mmap(NULL, len + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return p;
	char *at = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	if (at > p)
		munmap(p, (size_t)(at - p));
	if (p + HUGE > at)
		munmap(at + len, (size_t)(p + HUGE - at));
	return mmap(at, len, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
}

static void map_fd(int fd, size_t len, int flags)
{
	if (fd < 0 || ftruncate(fd, (off_t)len))
		answer(false);
	else
		answer_map(map_aligned(len, flags, fd), len);
	if (fd >= 0)
		close(fd);
}

static void smaps_line(const char *path, unsigned long addr, const char *key, const char *as)
{
	char line[512];
	bool inside = false;
	size_t len = strlen(key);
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long a, b;

		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
			inside = !addr || (a <= addr && addr < b);
		else if (inside && !strncmp(line, key, len) && line[len] == ':') {
			if (as)
				fx_say("%s %lu", as, strtoul(line + len + 1, NULL, 10));
			else
				fx_say("%s %s", key, line + len + 1 + strspn(line + len + 1, " "));
			fclose(f);
			return;
		}
	}
	if (f)
		fclose(f);
	errno = ENOENT;
	answer(false);
}

static void *wait_for_ever(void *tid)
{
	*(_Atomic pid_t *)tid = (pid_t)syscall(SYS_gettid);
	for (;;)
		pause();
	return NULL;
}

static _Atomic uint64_t churn_longest;

static void *churn(void *arg)
{
	(void)arg;
	while (!fx_stop) {
		uint64_t begun = fx_now();
		void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p != MAP_FAILED)
			munmap(p, 4096);
		uint64_t took = fx_now() - begun;
		if (took > churn_longest)
			churn_longest = took;
		usleep(50);
	}
	return NULL;
}

static void start_thread(void)
{
	static _Atomic pid_t tid;
	pthread_t t;

	tid = 0;
	FX_NEED(pthread_create(&t, NULL, wait_for_ever, &tid) == 0);
	while (!tid)
		sched_yield();
	fx_say("thread %d", tid);
}

static void fork_down(void)
{
	int status = 0;
	pid_t pid = fork();

	FX_NEED(pid >= 0);
	if (pid == 0) {
		FX_PR_SET_PDEATHSIG_KILL();
		fx_say("fork %d", getpid());
		return;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		if (fx_stop)
			kill(pid, SIGKILL);
	fx_say("reaped %d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void spawn(void)
{
	pid_t pid = fx_fork();

	if (pid == 0)
		for (;;)
			pause();
	fx_say("child %d", pid);
}

static void run(char *line)
{
	char word[16] = "", text[64] = "";
	unsigned long n[3] = { 0, 0, 0 };
	int at = 0;

	sscanf(line, "%15s %n", word, &at);
	int numbers = sscanf(line + at, "%li %li %li", (long *)&n[0], (long *)&n[1], (long *)&n[2]);
	unsigned char *p = (unsigned char *)n[0];

#define IS(w) (!strcmp(word, w))
	if (IS("map"))
		answer_map(map_aligned(n[0], MAP_PRIVATE | MAP_ANONYMOUS, -1), n[0]);
	else if (IS("reserve"))
		answer_map(mmap(NULL, n[0], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), n[0]);
	else if (IS("shared"))
		answer_map(map_aligned(n[0], MAP_SHARED | MAP_ANONYMOUS, -1), n[0]);
	else if (IS("memfd"))
		map_fd(memfd_create("mctl-testkit", MFD_CLOEXEC), n[0], MAP_SHARED);
	else if (IS("file"))
		map_fd(open(sscanf(line + at, "%*s %63s", text) == 1 ? text : "file.data", O_RDWR | O_CREAT | O_CLOEXEC, 0600), n[0], MAP_PRIVATE);
	else if (IS("hugetlb"))
		answer_map(mmap(NULL, n[0], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0), n[0]);
	else if (IS("touch")) {
		for (unsigned long i = 0; i < n[1]; i += 4096)
			*(uint64_t *)(p + i) = (uint64_t)p + i;
		answer(true);
	} else if (IS("spread")) {
		for (unsigned long i = 0; i < n[2]; i++)
			p[n[1] / n[2] * i] = 1;
		answer(true);
	} else if (IS("blank")) {
		for (unsigned long i = 0; i < n[1]; i += 4096)
			*(volatile uint64_t *)(p + i) = 0;
		answer(true);
	} else if (IS("check")) {
		for (unsigned long i = 0; i < n[1]; i += 4096)
			if (*(uint64_t *)(p + i) != (uint64_t)p + i)
				fx_violation("data", "%p has other contents", (void *)(p + i));
		answer(true);
	} else if (IS("unmap"))
		answer(munmap(p, n[1]) == 0);
	else if (IS("advise"))
		answer(madvise(p, n[1], (int)n[2]) == 0);
	else if (IS("lock"))
		answer(mlock(p, n[1]) == 0);
	else if (IS("zero")) {
		for (unsigned long i = 0; i < n[1]; i += 4096)
			if (*(uint64_t *)(p + i))
				fx_violation("data", "%p is not zero", (void *)(p + i));
		answer(true);
	} else if (IS("thp"))
		fx_say("thp %d", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	else if (IS("never"))
		fx_say("never %d", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1 || (policy_word() & 2));
	else if (IS("merge"))
		fx_say("merge %d", prctl(68 /* PR_GET_MEMORY_MERGE */, 0, 0, 0, 0));
	else if (IS("setthp"))
		answer(prctl(PR_SET_THP_DISABLE, n[0], n[1], 0, 0) == 0);
	else if (IS("setmerge"))
		answer(prctl(67 /* PR_SET_MEMORY_MERGE */, n[0], 0, 0, 0) == 0);
	else if (IS("huge"))
		smaps_line("/proc/self/smaps", n[0], "AnonHugePages", "huge");
	else if (IS("smaps") && sscanf(line + at, "%*s %63s", text) == 1)
		smaps_line("/proc/self/smaps", n[0], text, NULL);
	else if (IS("total") && sscanf(line + at, "%63s", text) == 1)
		smaps_line("/proc/self/smaps_rollup", 0, text, NULL);
	else if (IS("fork"))
		fork_down();
	else if (IS("spawn"))
		spawn();
	else if (IS("churn")) {
		pthread_t t;

		errno = pthread_create(&t, NULL, churn, NULL);
		answer(errno == 0);
	} else if (IS("longest"))
		fx_say("longest %" PRIu64, atomic_exchange(&churn_longest, 0));
	else if (IS("newpid"))
		answer(unshare(CLONE_NEWPID) == 0);
	else if (IS("newuser"))
		answer(unshare(CLONE_NEWUSER) == 0);
	else if (IS("child")) {
		pid_t got = waitpid(-1, NULL, WNOHANG | (int)n[0]);

		if (got < 0)
			answer(false);
		else
			fx_say("child %d", (int)got);
	} else if (IS("thread"))
		start_thread();
	else if (IS("pid"))
		fx_say("pid %d", getpid());
	else if (IS("exit"))
		_exit((int)n[0]);
	else if (IS("exec")) {
		execv("/proc/self/exe", fx_argv);
		answer(false);
	} else
		fx_say("error unknown command %s (%d numbers)", word, numbers);
	fx_iterations++;
}

int main(int argc, char **argv)
{
	char line[256];

	fx_init(argc, argv, "touch");
	fx_ready(SYS_read);
	while (!fx_stop && read_line(line, sizeof(line)))
		run(line);
	return fx_done();
}
