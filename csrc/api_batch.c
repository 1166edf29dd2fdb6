/* api_batch.c - public entry points that need no replica: batches, outcomes, hashes, canonical JSON. */
#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "base/options.h"
#include "codec/canonical.h"
#include "codec/heard.h"
#include "codec/text_list.h"
#include "codec/wire.h"
#include "model/lineage.h"

static int misuse(csync_error *err, const char *what)
{
    return cs_fail(err, CSYNC_EMISUSE, "%s", what);
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
    int rc;

    cs_error_clear(err);
    if (!batch || !change)
        return misuse(err, "batch or change is NULL");
    rc = CS_OPTIONS_IN(&own, change, err);
    return rc == CSYNC_OK ? cs_batch_add(batch, &own, err) : rc;
}

size_t csync_batch_count(const csync_batch *batch)
{
    return batch ? batch->count : 0;
}

const csync_change *csync_batch_at(const csync_batch *batch, size_t i)
{
    return cs_batch_get(batch, i);
}

int csync_batch_get_info(const csync_batch *batch, csync_batch_info *out)
{
    csync_batch_info own = {.struct_size = sizeof own};

    if (!batch || CS_STRUCT_CHECK(out, NULL) != CSYNC_OK)
        return CSYNC_EMISUSE;
    own.origin = batch->origin;
    own.from_version = batch->from_version;
    own.to_version = batch->to_version;
    own.has_more = batch->has_more;
    memcpy(own.hash, batch->hash, sizeof own.hash);
    own.epoch = batch->epoch;
    own.from_epoch = batch->from_epoch;
    own.has_peer = batch->has_peer;
    own.peer_version = batch->peer_version;
    own.peer_epoch = batch->peer_epoch;
    own.floor = batch->floor;
    own.cursor = batch->cursor;
    own.from_cursor = batch->from_cursor;
    own.key = batch->key;
    own.compare = batch->compare;
    own.tables = batch->tables;
    own.heard = batch->heard;
    own.copied_from = batch->copied_from;
    CS_STRUCT_OUT(out, &own);
    return CSYNC_OK;
}

static int is_hash(const char *text)
{
    size_t len = strnlen(text, CSYNC_HASH_SIZE);

    return len == 0 || (len == CSYNC_HASH_SIZE - 1 && strspn(text, "0123456789abcdefABCDEF") == len);
}

static int check_info(const csync_batch_info *info, csync_error *err)
{
    int rc = info->origin ? cs_origin_check(info->origin, err) : CSYNC_OK;
    int has = 0;
    int64_t ms;

    if (rc != CSYNC_OK)
        return rc;
    /* in the log of a replica that was restored from a backup a position may lie before the one it replaces */
    if (info->from_version < 0 || (info->to_version < info->from_version && !info->epoch))
        return cs_fail(err, CSYNC_EINVAL, "versions %lld to %lld are no range",
                       (long long)info->from_version, (long long)info->to_version);
    if (info->to_version < 0 || info->peer_version < 0)
        return cs_fail(err, CSYNC_EINVAL, "a version of the batch is negative");
    if (info->floor && cs_time_parse(info->floor, strlen(info->floor), &ms) != 0)
        return cs_fail(err, CSYNC_EINVAL, "the floor \"%.40s\" is no timestamp", info->floor);
    if (info->copied_from &&
        (strlen(info->copied_from) >= CS_LINEAGE_SIZE || !cs_lineage_check(info->copied_from)))
        return cs_fail(err, CSYNC_EINVAL, "copied_from is not made of lines VERSION ORIGIN");
    if (!is_hash(info->hash))
        return cs_fail(err, CSYNC_EINVAL, "the hash is no SHA-256 in hex");
    rc = info->tables ? cs_text_list_has(info->tables, NULL, &has, err) : CSYNC_OK;
    return rc == CSYNC_OK && info->heard ? cs_heard_each(info->heard, NULL, NULL, err) : rc;
}

/* The texts of `info`, copied into the batch's arena. */
static int copy_texts(csync_batch *batch, csync_batch_info *info, csync_error *err)
{
    const char **const texts[] = {&info->origin,      &info->epoch,      &info->from_epoch,
                                  &info->peer_epoch,  &info->floor,      &info->cursor,
                                  &info->from_cursor, &info->key,        &info->tables,
                                  &info->heard,       &info->copied_from};
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < sizeof texts / sizeof *texts; i++)
        rc = cs_batch_text(batch, *texts[i], texts[i], err);
    return rc;
}

int csync_batch_set_info(csync_batch *batch, const csync_batch_info *info, csync_error *err)
{
    csync_batch_info own;
    int rc;

    cs_error_clear(err);
    if (!batch || !info)
        return misuse(err, "batch or info is NULL");
    rc = CS_OPTIONS_IN(&own, info, err);
    if (rc == CSYNC_OK)
        rc = check_info(&own, err);
    if (rc == CSYNC_OK)
        rc = copy_texts(batch, &own, err);
    if (rc != CSYNC_OK)
        return rc;
    batch->origin = own.origin;
    batch->from_version = own.from_version;
    batch->to_version = own.to_version;
    batch->has_more = own.has_more != 0;
    batch->has_info = 1;
    memcpy(batch->hash, own.hash, sizeof batch->hash);
    batch->epoch = own.epoch;
    batch->from_epoch = own.from_epoch;
    batch->has_peer = own.has_peer != 0;
    batch->peer_version = own.peer_version;
    batch->peer_epoch = own.peer_epoch;
    batch->floor = own.floor;
    batch->cursor = own.cursor;
    batch->from_cursor = own.from_cursor;
    batch->key = own.key;
    batch->compare = own.compare != 0;
    batch->tables = own.tables;
    batch->heard = own.heard;
    batch->copied_from = own.copied_from;
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

    if (!outcome || CS_STRUCT_CHECK(out, NULL) != CSYNC_OK)
        return CSYNC_EMISUSE;
    if (i >= outcome->count)
        return CSYNC_ENOTFOUND;
    own.status = outcome->items[i].status;
    own.reason = outcome->items[i].reason;
    if (outcome->items[i].winner >= 0)
        own.winner = &outcome->winners->items[outcome->items[i].winner].pub;
    CS_STRUCT_OUT(out, &own);
    return CSYNC_OK;
}

int64_t csync_outcome_position(const csync_outcome *outcome)
{
    return outcome ? outcome->position : 0;
}

const char *csync_outcome_epoch(const csync_outcome *outcome)
{
    return outcome ? outcome->epoch : NULL;
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

int csync_verify_hash(const char *expected, const char *actual, csync_error *err)
{
    cs_error_clear(err);
    if (!expected || !actual)
        return misuse(err, "expected or actual is NULL");
    return cs_hash_verify(expected, actual, err);
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
