/* Checks that say where they failed. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: %s (errno %s, detail \"%s\")\n", __FILE__, __LINE__,    \
                    #condition, strerror(errno), mctl_last_detail());                       \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

/* The call fails with this errno and says why. */
#define FAILS(call, number)                                                                 \
    do {                                                                                    \
        errno = 0;                                                                          \
        CHECK((call) == -1);                                                                \
        CHECK(errno == (number));                                                           \
        CHECK(mctl_last_detail()[0] != 0);                                                  \
    } while (0)

/* The call succeeds and leaves errno alone. */
#define SUCCEEDS(call)                                                                      \
    do {                                                                                    \
        errno = 4242;                                                                       \
        CHECK((call) >= 0);                                                                 \
        CHECK(errno == 4242);                                                               \
    } while (0)

#endif
