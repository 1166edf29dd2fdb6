/* change.c - changes and batches in memory. What needs JSON to be read is in codec/change_check.c. */
#include <string.h>

#include "base/mem.h"
#include "model/change.h"

cs_stamp cs_change_stamp(const cs_change *change)
{
    cs_stamp stamp = {change->ts, change->pub.origin, change->pub.seq};

    return stamp;
}

int cs_change_base(const csync_change *change, cs_stamp *out, char text[CS_STAMP_SIZE])
{
    return change->base && cs_stamp_parse(change->base, out, text) == 0;
}

cs_position cs_batch_from(const csync_batch *batch)
{
    return cs_position_make(batch->from_version, batch->from_epoch);
}

cs_position cs_batch_to(const csync_batch *batch)
{
    return cs_position_make(batch->to_version, batch->epoch);
}

cs_position cs_batch_peer(const csync_batch *batch)
{
    return cs_position_make(batch->peer_version, batch->peer_epoch);
}

int cs_batch_text(csync_batch *batch, const char *text, const char **out, csync_error *err)
{
    *out = text ? cs_arena_copy(&batch->arena, text, strlen(text)) : NULL;
    return *out || !text ? CSYNC_OK : cs_fail_nomem(err);
}

static const char *const operation_names[] = {NULL, "insert", "update", "delete"};

const char *cs_operation_name(int operation)
{
    return operation >= CSYNC_INSERT && operation <= CSYNC_DELETE ? operation_names[operation] : NULL;
}

/* `name` is in lower case. */
static int is_same_word(const char *text, size_t len, const char *name)
{
    for (size_t i = 0; i < len; i++)
        if ((text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]) != name[i] || !name[i])
            return 0;
    return name[len] == 0;
}

int cs_operation_parse(const char *text, size_t len)
{
    if (len == 1 && text[0] >= '0' && text[0] <= '2')
        return CSYNC_INSERT + (text[0] - '0');
    for (int i = CSYNC_INSERT; i <= CSYNC_DELETE; i++)
        if (is_same_word(text, len, operation_names[i]))
            return i;
    return 0;
}

static int is_origin_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '.' || c == '-';
}

int cs_origin_check(const char *origin, csync_error *err)
{
    size_t len = 0;

    while (len <= CS_ORIGIN_MAX && is_origin_char((unsigned char)origin[len]))
        len++;
    if (origin[len] == 0 && len > 0 && len <= CS_ORIGIN_MAX)
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EINVAL,
                   "origin \"%.70s\" is not 1 to %d characters of A-Z a-z 0-9 _ . -", origin,
                   CS_ORIGIN_MAX);
}

csync_batch *cs_batch_create(void)
{
    return cs_calloc(1, sizeof(csync_batch));
}

void cs_batch_destroy(csync_batch *batch)
{
    if (!batch)
        return;
    cs_free(batch->items);
    cs_arena_free(&batch->arena);
    cs_free(batch);
}

cs_change *cs_batch_push(csync_batch *batch)
{
    cs_change *change;

    if (cs_grow(&batch->items, &batch->cap, batch->count + 1, sizeof *batch->items) != CSYNC_OK)
        return NULL;
    change = &batch->items[batch->count++];
    memset(change, 0, sizeof *change);
    change->pub.struct_size = sizeof change->pub;
    return change;
}

int cs_batch_set_time(csync_batch *batch, cs_change *change, int64_t ms)
{
    char *text = cs_arena_alloc(&batch->arena, CS_TIME_SIZE);

    if (!text)
        return CSYNC_ENOMEM;
    cs_time_format(ms, text);
    change->pub.timestamp = text;
    change->ts = ms;
    return CSYNC_OK;
}

/* Most changes of a batch share table and origin with the one before: their copies are shared too. */
static const char *share_or_copy(csync_batch *batch, const char *before, const char *text, size_t len)
{
    if (before && strcmp(before, text) == 0)
        return before;
    return cs_arena_copy(&batch->arena, text, len);
}

int cs_batch_append(csync_batch *batch, const csync_change *from, int64_t ms, csync_error *err)
{
    cs_change *c = cs_batch_push(batch);
    const csync_change *before;

    if (!c)
        return cs_fail_nomem(err);
    before = batch->count > 1 ? &c[-1].pub : &c->pub;
    c->pub.version = from->version;
    c->pub.operation = from->operation;
    c->pub.seq = from->seq;
    c->table_len = strlen(from->table);
    c->pk_len = strlen(from->pk);
    c->payload_len = from->payload ? strlen(from->payload) : 0;
    c->pub.table = share_or_copy(batch, before->table, from->table, c->table_len);
    c->pub.origin = share_or_copy(batch, before->origin, from->origin, strlen(from->origin));
    c->pub.pk = cs_arena_copy(&batch->arena, from->pk, c->pk_len);
    if (from->payload)
        c->pub.payload = cs_arena_copy(&batch->arena, from->payload, c->payload_len);
    if (from->base)
        c->pub.base = cs_arena_copy(&batch->arena, from->base, strlen(from->base));
    if (!c->pub.table || !c->pub.origin || !c->pub.pk || (from->payload && !c->pub.payload) ||
        (from->base && !c->pub.base) || cs_batch_set_time(batch, c, ms) != CSYNC_OK) {
        batch->count--;
        return cs_fail_nomem(err);
    }
    batch->bytes += c->table_len + c->pk_len + c->payload_len;
    return CSYNC_OK;
}

const csync_change *cs_batch_get(const csync_batch *batch, size_t i)
{
    return batch && i < batch->count ? &batch->items[i].pub : NULL;
}
