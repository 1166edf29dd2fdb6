/* api_batch.c - public entry points that need no replica: batches, outcomes, hashes, canonical JSON. */
#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/canonical.h"
#include "codec/wire.h"

static int misuse(csync_error *err, const char *what)
{
    return cs_fail(err, CSYNC_EMISUSE, "%s", what);
}

/* No struct of ours is near that size: a field was never set. */
#define ABSURD_SIZE 4096

/* Reads a struct of the caller's, who may know fewer or more fields. 0: its size cannot be right. */
static int take_struct(void *own, size_t own_size, const void *theirs)
{
    size_t size;

    memset(own, 0, own_size);
    memcpy(&size, theirs, sizeof size);
    if (size <= sizeof size || size > ABSURD_SIZE)
        return 0;
    memcpy(own, theirs, size < own_size ? size : own_size);
    memcpy(own, &own_size, sizeof own_size);
    return 1;
}

/* The other way. The caller's struct_size stays; what we do not know in it becomes zero. */
static int give_struct(void *theirs, const void *own, size_t own_size)
{
    size_t size;

    memcpy(&size, theirs, sizeof size);
    if (size <= sizeof size || size > ABSURD_SIZE)
        return 0;
    memset((char *)theirs + sizeof size, 0, size - sizeof size);
    memcpy((char *)theirs + sizeof size, (const char *)own + sizeof size,
           (size < own_size ? size : own_size) - sizeof size);
    return 1;
}

/* ---- Batches ------------------------------------------------------------------------------------- */

int csync_batch_new(csync_batch **out, csync_error *err)
{
    cs_error_clear(err);
    if (!out)
        return misuse(err, "out is NULL");
    *out = cs_batch_create();
    return *out ? CSYNC_OK : cs_fail_nomem(err);
}

int csync_batch_add(csync_batch *batch, const csync_change *change, csync_error *err)
{
    csync_change own;

    cs_error_clear(err);
    if (!batch || !change)
        return misuse(err, "batch or change is NULL");
    if (!take_struct(&own, sizeof own, change))
        return misuse(err, "struct_size of the change is not set");
    return cs_batch_add(batch, &own, err);
}

size_t csync_batch_count(const csync_batch *batch)
{
    return batch ? batch->count : 0;
}

const csync_change *csync_batch_at(const csync_batch *batch, size_t i)
{
    return batch && i < batch->count ? &batch->items[i].pub : NULL;
}

int csync_batch_get_info(const csync_batch *batch, csync_batch_info *out)
{
    csync_batch_info own = {.struct_size = sizeof own};

    if (!batch || !out)
        return CSYNC_EMISUSE;
    own.origin = batch->origin;
    own.from_version = batch->from_version;
    own.to_version = batch->to_version;
    own.has_more = batch->has_more;
    memcpy(own.hash, batch->hash, sizeof own.hash);
    return give_struct(out, &own, sizeof own) ? CSYNC_OK : CSYNC_EMISUSE;
}

static int is_hash(const char *text)
{
    size_t len = strnlen(text, CSYNC_HASH_SIZE);

    return len == 0 || (len == CSYNC_HASH_SIZE - 1 && strspn(text, "0123456789abcdefABCDEF") == len);
}

/* CSYNC_OK, and the copy of the origin in *origin. */
static int check_info(csync_batch *batch, const csync_batch_info *info, const char **origin,
                      csync_error *err)
{
    int rc = info->origin ? cs_origin_check(info->origin, err) : CSYNC_OK;

    *origin = NULL;
    if (rc != CSYNC_OK)
        return rc;
    if (info->from_version < 0 || info->to_version < info->from_version)
        return cs_fail(err, CSYNC_EINVAL, "versions %lld to %lld are no range",
                       (long long)info->from_version, (long long)info->to_version);
    if (!is_hash(info->hash))
        return cs_fail(err, CSYNC_EINVAL, "the hash is no SHA-256 in hex");
    if (!info->origin)
        return CSYNC_OK;
    *origin = cs_arena_copy(&batch->arena, info->origin, strlen(info->origin));
    return *origin ? CSYNC_OK : cs_fail_nomem(err);
}

int csync_batch_set_info(csync_batch *batch, const csync_batch_info *info, csync_error *err)
{
    csync_batch_info own;
    const char *origin;
    int rc;

    cs_error_clear(err);
    if (!batch || !info)
        return misuse(err, "batch or info is NULL");
    if (!take_struct(&own, sizeof own, info))
        return misuse(err, "struct_size of the info is not set");
    rc = check_info(batch, &own, &origin, err);
    if (rc != CSYNC_OK)
        return rc;
    batch->origin = origin;
    batch->from_version = own.from_version;
    batch->to_version = own.to_version;
    batch->has_more = own.has_more != 0;
    batch->has_info = 1;
    memcpy(batch->hash, own.hash, sizeof batch->hash);
    return CSYNC_OK;
}

int csync_batch_hash(const csync_batch *batch, char hex[CSYNC_HASH_SIZE], csync_error *err)
{
    cs_error_clear(err);
    if (!batch || !hex)
        return misuse(err, "batch or hex is NULL");
    return cs_batch_hash(batch, hex, err);
}

/* Hands the text over; `length` may be NULL. */
static int give_text(cs_buf *b, char **text, size_t *length, csync_error *err)
{
    size_t len = b->len;
    int rc = cs_buf_check(b, err);

    if (rc == CSYNC_OK) {
        *text = cs_buf_take(b, err);
        if (length)
            *length = len;
    }
    cs_buf_free(b);
    return rc;
}

int csync_batch_to_json(const csync_batch *batch, char **json, size_t *length, csync_error *err)
{
    cs_buf b = {0};

    cs_error_clear(err);
    if (json)
        *json = NULL;
    if (length)
        *length = 0;
    if (!batch || !json)
        return misuse(err, "batch or json is NULL");
    cs_batch_write(&b, batch);
    return give_text(&b, json, length, err);
}

int csync_batch_from_json(csync_batch **out, const char *json, size_t length, csync_error *err)
{
    cs_error_clear(err);
    if (out)
        *out = NULL;
    if (!out || !json)
        return misuse(err, "out or json is NULL");
    return cs_batch_read(out, json, length, err);
}

void csync_batch_free(csync_batch *batch)
{
    cs_batch_destroy(batch);
}

/* ---- Outcomes ------------------------------------------------------------------------------------ */

size_t csync_outcome_count(const csync_outcome *outcome)
{
    return outcome ? outcome->count : 0;
}

int csync_outcome_at(const csync_outcome *outcome, size_t i, csync_outcome_entry *out)
{
    csync_outcome_entry own = {.struct_size = sizeof own};

    if (!outcome || !out)
        return CSYNC_EMISUSE;
    if (i >= outcome->count)
        return CSYNC_ENOTFOUND;
    own.status = outcome->items[i].status;
    own.reason = outcome->items[i].reason;
    if (outcome->items[i].winner >= 0)
        own.winner = &outcome->winners->items[outcome->items[i].winner].pub;
    return give_struct(out, &own, sizeof own) ? CSYNC_OK : CSYNC_EMISUSE;
}

int64_t csync_outcome_position(const csync_outcome *outcome)
{
    return outcome ? outcome->position : 0;
}

int csync_outcome_to_json(const csync_outcome *outcome, char **json, csync_error *err)
{
    cs_buf b = {0};

    cs_error_clear(err);
    if (json)
        *json = NULL;
    if (!outcome || !json)
        return misuse(err, "outcome or json is NULL");
    cs_outcome_write(&b, outcome);
    return give_text(&b, json, NULL, err);
}

int csync_outcome_from_json(csync_outcome **out, const char *json, size_t length, csync_error *err)
{
    cs_error_clear(err);
    if (out)
        *out = NULL;
    if (!out || !json)
        return misuse(err, "out or json is NULL");
    return cs_outcome_read(out, json, length, err);
}

void csync_outcome_free(csync_outcome *outcome)
{
    cs_outcome_destroy(outcome);
}

/* ---- Hashes and canonical JSON -------------------------------------------------------------------- */

static int is_same_hex(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        char x = *a >= 'A' && *a <= 'Z' ? (char)(*a + 32) : *a;
        char y = *b >= 'A' && *b <= 'Z' ? (char)(*b + 32) : *b;

        if (x != y)
            return 0;
    }
    return *a == *b;
}

int csync_verify_hash(const char *expected, const char *actual, csync_error *err)
{
    cs_error_clear(err);
    if (!expected || !actual)
        return misuse(err, "expected or actual is NULL");
    if (is_same_hex(expected, actual))
        return CSYNC_OK;
    if (err && err->struct_size >= sizeof *err) {
        cs_text_copy(err->expected, sizeof err->expected, expected);
        cs_text_copy(err->actual, sizeof err->actual, actual);
    }
    return cs_fail(err, CSYNC_EHASH, "the hash is %.64s, not %.64s as expected", actual, expected);
}

int csync_canonical_json(const char *json, size_t length, char **out, csync_error *err)
{
    cs_buf b = {0};
    int rc;

    cs_error_clear(err);
    if (out)
        *out = NULL;
    if (!json || !out)
        return misuse(err, "json or out is NULL");
    rc = cs_canonical_json(&b, json, length, err);
    if (rc == CSYNC_OK)
        return give_text(&b, out, NULL, err);
    cs_buf_free(&b);
    return rc;
}
