/* fuzz_outcome.c - csync_outcome_from_json: what is accepted comes back the same. */
#include <string.h>

#include "csync.h"

static void must(int is_true)
{
    if (!is_true)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    csync_outcome *outcome, *again;
    csync_outcome_entry entry = {.struct_size = sizeof entry};
    csync_error err = CSYNC_ERROR_INIT;
    char *first, *second;

    if (csync_outcome_from_json(&outcome, (const char *)data, size, &err) != CSYNC_OK) {
        must(outcome == NULL && err.message[0]);
        return 0;
    }
    for (size_t i = 0; i < csync_outcome_count(outcome); i++)
        must(csync_outcome_at(outcome, i, &entry) == CSYNC_OK && entry.status && entry.reason);
    must(csync_outcome_to_json(outcome, &first, NULL) == CSYNC_OK);
    must(csync_outcome_from_json(&again, first, strlen(first), NULL) == CSYNC_OK);
    must(csync_outcome_to_json(again, &second, NULL) == CSYNC_OK);
    must(strcmp(first, second) == 0);
    csync_free(first);
    csync_free(second);
    csync_outcome_free(outcome);
    csync_outcome_free(again);
    return 0;
}
