/* Makes all memory of a process the first to be reclaimed: cold PID */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <mctl.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

int main(int argc, char **argv)
{
    ssize_t bytes;

    if (argc != 2) {
        fprintf(stderr, "usage: cold PID\n");
        return 2;
    }
    bytes = mctl_process_madvise(P_PID, (id_t)atoi(argv[1]), NULL, (size_t)-1, MADV_COLD,
                                 PMADV_ENTIRE_ADDRESS_SPACE | PMADV_SKIP_ERRORS);
    if (bytes < 0) {
        fprintf(stderr, "cold: %s\n", mctl_last_detail());
        return 1;
    }
    printf("done\n");
    return 0;
}
