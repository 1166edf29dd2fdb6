/* wire_read.c - reads a batch of the wire form. */
#include <string.h>

#include "base/mem.h"
#include "codec/heard.h"
#include "codec/text_list.h"
#include "codec/wire.h"
#include "codec/wire_reader.h"
#include "model/lineage.h"

enum {
    CHANGES,
    FROM,
    TO,
    HAS_MORE,
    HASH,
    ORIGIN,
    EPOCH,
    FROM_EPOCH,
    PEER_VERSION,
    PEER_EPOCH,
    FLOOR,
    CURSOR,
    FROM_CURSOR,
    KEY,
    COMPARE,
    TABLES,
    HEARD,
    COPIED_FROM,
    ORIGIN_ID,
    FIELDS
};

#define KEY_MAX 129 /* of an idempotency key, with its NUL */

static const cs_field fields[FIELDS] = {
    {"\"changes\":", 10},     {"\"fromVersion\":", 14},
    {"\"toVersion\":", 12},   {"\"hasMore\":", 10},
    {"\"hash\":", 7},         {"\"origin\":", 9},
    {"\"epoch\":", 8},        {"\"fromEpoch\":", 12},
    {"\"peerVersion\":", 14}, {"\"peerEpoch\":", 12},
    {"\"floor\":", 8},        {"\"cursor\":", 9},
    {"\"fromCursor\":", 13},  {"\"idempotencyKey\":", 17},
    {"\"compare\":", 10},     {"\"tables\":", 9},
    {"\"heard\":", 8},        {"\"copiedFrom\":", 13},
    {"\"originId\":", 11},
};
static const char *const field_names[FIELDS] = {
    "changes", "fromVersion", "toVersion",  "hasMore",        "hash",
    "origin",  "epoch",       "fromEpoch",  "peerVersion",    "peerEpoch",
    "floor",   "cursor",      "fromCursor", "idempotencyKey", "compare",
    "tables",  "heard",       "copiedFrom", "originId",
};

static int read_changes(cs_reader *r)
{
    int more = cs_reader_enter(r, '['), rc;

    r->field = NULL;
    while (more == 1) {
        r->item = "change";
        rc = cs_reader_change(r, 2);
        if (rc != CSYNC_OK)
            return rc;
        r->item = NULL;
        r->index++;
        more = cs_reader_next(r, ']');
    }
    return more;
}

static int read_bool(cs_reader *r, int *out)
{
    *out = *r->s.p == 't';
    return cs_scan_word(&r->s, *out ? "true" : "false");
}

static int read_hash(cs_reader *r, char hash[CSYNC_HASH_SIZE])
{
    const char *from = r->s.p, *text;
    size_t len, i = 0;

    text = cs_reader_text(r, &len);
    if (!text)
        return CSYNC_EINVAL;
    for (; i < len && i < CSYNC_HASH_SIZE - 1; i++) {
        char c = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] + 32) : text[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            break;
        hash[i] = c;
    }
    if (i == len && (len == 0 || len == CSYNC_HASH_SIZE - 1)) {
        hash[len] = 0;
        return CSYNC_OK;
    }
    r->s.p = from;
    return cs_scan_fault(&r->s, "this is no SHA-256 in hex");
}

static int read_origin(cs_reader *r, const char **out)
{
    const char *from = r->s.p;
    size_t len;

    if (*out)
        return cs_scan_fault(&r->s, "the origin is there twice");
    *out = cs_reader_text(r, &len);
    if (!*out)
        return CSYNC_EINVAL;
    if (cs_origin_check(*out, NULL) == CSYNC_OK)
        return CSYNC_OK;
    r->s.p = from;
    return cs_scan_fault(&r->s, "not 1 to 64 characters of A-Z a-z 0-9 _ . -");
}

/* A text shorter than `size` bytes. */
static int read_text(cs_reader *r, size_t size, const char **out)
{
    const char *from = r->s.p;
    size_t len;

    *out = cs_reader_text(r, &len);
    if (*out && len < size)
        return CSYNC_OK;
    if (*out) {
        r->s.p = from;
        cs_scan_fault(&r->s, "the text is too long");
    }
    return CSYNC_EINVAL;
}

static int read_time(cs_reader *r, const char **out)
{
    const char *from = r->s.p;
    int64_t ms;
    int rc = read_text(r, KEY_MAX, out);

    if (rc != CSYNC_OK || cs_time_parse(*out, strlen(*out), &ms) == 0)
        return rc;
    r->s.p = from;
    return cs_scan_fault(&r->s, "this is no timestamp");
}

static int read_lineage(cs_reader *r, const char **out)
{
    const char *from = r->s.p;
    int rc = read_text(r, CS_LINEAGE_SIZE, out);

    if (rc != CSYNC_OK || cs_lineage_check(*out))
        return rc;
    r->s.p = from;
    return cs_scan_fault(&r->s, "these are no lines VERSION ORIGIN");
}

static int check_list(int field, const char *json, csync_error *err)
{
    int has = 0;

    return field == HEARD ? cs_heard_each(json, NULL, NULL, err)
                          : cs_text_list_has(json, NULL, &has, err);
}

/* The array as it stands. */
static int read_list(cs_reader *r, int field, const char **out)
{
    const char *from = r->s.p;
    csync_error why = CSYNC_ERROR_INIT;
    int rc = cs_scan_value(&r->s, 1);

    if (rc != CSYNC_OK)
        return rc;
    *out = cs_arena_copy(&r->batch->arena, from, (size_t)(r->s.p - from));
    if (!*out)
        return cs_reader_nomem(r);
    rc = check_list(field, *out, &why);
    if (rc == CSYNC_ENOMEM)
        return cs_reader_nomem(r);
    if (rc == CSYNC_OK)
        return rc;
    r->s.p = from;
    return cs_scan_fault(&r->s, field == HEARD ? "this is no list of what was heard"
                                               : "this is no list of names");
}

static int read_field(cs_reader *r, int field)
{
    csync_batch *b = r->batch;

    switch (field) {
    case CHANGES:
        return read_changes(r);
    case FROM:
        return cs_reader_count(r, &b->from_version);
    case TO:
        return cs_reader_count(r, &b->to_version);
    case HAS_MORE:
        return read_bool(r, &b->has_more);
    case HASH:
        return read_hash(r, b->hash);
    case PEER_VERSION:
        b->has_peer = 1;
        return cs_reader_count(r, &b->peer_version);
    case COMPARE:
        return read_bool(r, &b->compare);
    case EPOCH:
        return read_text(r, CS_EPOCH_SIZE, &b->epoch);
    case FROM_EPOCH:
        return read_text(r, CS_EPOCH_SIZE, &b->from_epoch);
    case PEER_EPOCH:
        return read_text(r, CS_EPOCH_SIZE, &b->peer_epoch);
    case FLOOR:
        return read_time(r, &b->floor);
    case CURSOR:
        return read_text(r, SIZE_MAX, &b->cursor);
    case FROM_CURSOR:
        return read_text(r, SIZE_MAX, &b->from_cursor);
    case TABLES:
        return read_list(r, field, &b->tables);
    case HEARD:
        return read_list(r, field, &b->heard);
    case COPIED_FROM:
        return read_lineage(r, &b->copied_from);
    case KEY:
        return read_text(r, KEY_MAX, &b->key);
    default:
        return read_origin(r, &b->origin);
    }
}

static int finish_batch(cs_reader *r, unsigned seen)
{
    csync_batch *b = r->batch;

    if (!(seen & 1u << CHANGES))
        return cs_scan_fault(&r->s, "\"changes\" is missing");
    b->has_info = (seen & 1u << FROM) && (seen & 1u << TO);
    if (b->has_info && b->to_version < b->from_version && !b->epoch)
        return cs_scan_fault(&r->s, "toVersion is below fromVersion");
    return cs_scan_finish(&r->s);
}

static int read_batch(cs_reader *r)
{
    int more = cs_reader_enter(r, '{'), expected = 0, field, rc;
    unsigned seen = 0;

    while (more == 1) {
        field = cs_reader_field(r, fields, FIELDS, &expected, &seen, 1);
        if (field == -2)
            return CSYNC_EINVAL;
        if (field >= 0 && cs_reader_null(r)) {
            seen &= ~(field == CHANGES || field == FROM || field == TO ? 1u << field : 0);
        } else if (field >= 0) {
            r->field = field_names[field];
            rc = r->s.p < r->s.end ? read_field(r, field)
                                   : cs_scan_fault(&r->s, "the text ends too early");
            if (rc != CSYNC_OK)
                return rc;
            r->field = NULL;
        }
        more = cs_reader_next(r, '}');
    }
    return more < 0 ? more : finish_batch(r, seen);
}

/* Room for about as many changes as there will be. */
static int make_room(csync_batch *batch, size_t len)
{
    size_t guess = len / 256 < 4096 ? len / 256 + 1 : 4096;

    return cs_grow(&batch->items, &batch->cap, guess, sizeof *batch->items);
}

int cs_batch_read(csync_batch **out, const char *json, size_t len, csync_error *err)
{
    csync_batch *batch = cs_batch_create();
    cs_reader r;
    int rc;

    *out = NULL;
    if (!batch || make_room(batch, len) != CSYNC_OK) {
        cs_batch_destroy(batch);
        return cs_fail_nomem(err);
    }
    rc = cs_reader_open(&r, batch, json, len, err);
    if (rc == CSYNC_OK) {
        rc = read_batch(&r);
        if (rc != CSYNC_OK)
            rc = cs_reader_fail(&r, "batch JSON", err);
    }
    if (rc == CSYNC_OK)
        *out = batch;
    else
        cs_batch_destroy(batch);
    return rc;
}
