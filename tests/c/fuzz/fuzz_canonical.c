/* fuzz_canonical.c - csync_canonical_json: its result is JSON and its own canonical form. */
#include <string.h>

#include "csync.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *first, *second;

    if (csync_canonical_json((const char *)data, size, &first, NULL) != CSYNC_OK)
        return 0;
    if (csync_canonical_json(first, strlen(first), &second, NULL) != CSYNC_OK ||
        strcmp(first, second) != 0)
        __builtin_trap();
    csync_free(first);
    csync_free(second);
    return 0;
}
