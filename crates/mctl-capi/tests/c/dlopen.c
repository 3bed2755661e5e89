/* Loaded at run time, in a thread, closed while the thread lives on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

#include <mctl.h>

#include "check.h"

static const char *path;

static void *in_a_thread(void *unused)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    int (*call)(int, int, unsigned int);

    (void)unused;
    CHECK(library != NULL);
    *(void **)&call = dlvsym(library, "mctl", "MCTL_0.1");
    CHECK(call != NULL);
    CHECK(call(PIDFD_SELF, MCTL_GET_POLICY, 0) >= 0);
    CHECK(call(PIDFD_SELF, 0, 0) == -1 && errno == EINVAL);
    CHECK(dlsym(library, "rust_eh_personality") == NULL);
    CHECK(dlclose(library) == 0);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    int i;

    CHECK(argc == 2);
    path = argv[1];
    for (i = 0; i < 10; i++) {
        CHECK(pthread_create(&thread, NULL, in_a_thread, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    puts("done");
    return 0;
}
