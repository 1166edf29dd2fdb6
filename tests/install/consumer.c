/* The smallest program that uses an installed csync, in C99 and in C++. */
#include <csync.h>
#include <csync_url.h>
#include <stdio.h>

int main(void)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *batch = NULL;
    char hash[CSYNC_HASH_SIZE];

    if (csync_batch_new(&batch, &err) || csync_batch_hash(batch, hash, &err)) {
        fprintf(stderr, "%s: %s\n", csync_code_name(err.code), err.message);
        return 1;
    }
    csync_batch_free(batch);
    printf("csync %s\n", csync_version());
    return 0;
}
