/* fuzz_batch.c - csync_batch_from_json: what is accepted is valid, and comes back the same. */
#include <stdlib.h>
#include <string.h>

#include "codec/row.h"
#include "codec/value.h"
#include "csync.h"
#include "model/change.h"

static void must(int is_true)
{
    if (!is_true)
        __builtin_trap();
}

static void check_change(const csync_change *c)
{
    int64_t ms;

    must(*c->table && cs_utf8_valid(c->table, strlen(c->table)));
    must(cs_row_check(c->pk, strlen(c->pk), 1, NULL) == CSYNC_OK);
    must((c->payload != NULL) == (c->operation != CSYNC_DELETE));
    must(!c->payload || cs_row_check(c->payload, strlen(c->payload), 0, NULL) == CSYNC_OK);
    must(cs_origin_check(c->origin, NULL) == CSYNC_OK);
    must(strlen(c->timestamp) == CS_TIME_SIZE - 1 && cs_time_parse(c->timestamp, 24, &ms) == 0);
    must(c->version >= 0 && c->seq >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    csync_batch *batch, *again;
    char *first, *second, hash[CSYNC_HASH_SIZE];
    size_t first_len, second_len;
    csync_error err = CSYNC_ERROR_INIT;

    if (csync_batch_from_json(&batch, (const char *)data, size, &err) != CSYNC_OK) {
        must(batch == NULL && err.message[0] && cs_utf8_valid(err.message, strlen(err.message)));
        return 0;
    }
    for (size_t i = 0; i < csync_batch_count(batch); i++)
        check_change(csync_batch_at(batch, i));
    must(csync_batch_hash(batch, hash, NULL) == CSYNC_OK);
    must(csync_batch_to_json(batch, &first, &first_len, NULL) == CSYNC_OK);
    must(csync_batch_from_json(&again, first, first_len, NULL) == CSYNC_OK);
    must(csync_batch_to_json(again, &second, &second_len, NULL) == CSYNC_OK);
    must(first_len == second_len && memcmp(first, second, first_len) == 0);
    csync_free(first);
    csync_free(second);
    csync_batch_free(batch);
    csync_batch_free(again);
    return 0;
}
