/* wire_write.c - writes changes and batches in the wire form. */
#include <string.h>

#include "codec/escape.h"
#include "codec/value.h"
#include "codec/wire.h"

#define PUT(w, text) ((char *)memcpy(w, text, sizeof(text) - 1) + sizeof(text) - 1)

/* Room for the fixed parts of a change, at either side of the payload. */
enum { FIXED = 256 };

static char *put_int(char *w, int64_t value)
{
    char digits[CS_INT_SIZE], *end = digits + sizeof digits;
    char *start = cs_int_format(end, value);

    memcpy(w, start, (size_t)(end - start));
    return w + (end - start);
}

static char *put_operation(char *w, int operation)
{
    static const char names[][8] = {"Insert\",", "Update\",", "Delete\","};

    memcpy(w, names[operation - CSYNC_INSERT], 8);
    return w + 8;
}

/* Up to the payload's value. */
static void write_head(cs_buf *out, const csync_change *c, size_t table_len, size_t pk_len)
{
    char *w = cs_buf_reserve(out, (table_len + pk_len) * CS_ESCAPE_MAX + FIXED);

    if (!w)
        return;
    w = put_int(PUT(w, "{\"version\":"), c->version);
    w = cs_escape(PUT(w, ",\"tableName\":\""), c->table, table_len);
    w = cs_escape(PUT(w, "\",\"pkValue\":\""), c->pk, pk_len);
    w = put_operation(PUT(w, "\",\"operation\":\""), c->operation);
    w = PUT(w, "\"payload\":");
    out->len = (size_t)(w - out->data);
}

static void write_tail(cs_buf *out, const csync_change *c)
{
    size_t origin_len = strlen(c->origin), time_len = strlen(c->timestamp);
    char *w = cs_buf_reserve(out, (origin_len + time_len) * CS_ESCAPE_MAX + FIXED);

    if (!w)
        return;
    w = cs_escape(PUT(w, ",\"origin\":\""), c->origin, origin_len);
    w = cs_escape(PUT(w, "\",\"timestamp\":\""), c->timestamp, time_len);
    w = put_int(PUT(w, "\",\"seq\":"), c->seq);
    out->len = (size_t)(w - out->data);
    if (c->base) {
        cs_buf_put(out, ",\"base\":", 8);
        cs_put_string(out, c->base, strlen(c->base));
    }
    cs_buf_putc(out, '}');
}

static void write_change(cs_buf *out, const csync_change *c, size_t table_len, size_t pk_len,
                         size_t payload_len)
{
    write_head(out, c, table_len, pk_len);
    if (c->payload)
        cs_put_string(out, c->payload, payload_len);
    else
        cs_buf_put(out, "null", 4);
    write_tail(out, c);
}

void cs_change_write(cs_buf *out, const csync_change *change)
{
    write_change(out, change, strlen(change->table), strlen(change->pk),
                 change->payload ? strlen(change->payload) : 0);
}

/* A member, where there is a text. */
static void put_text(cs_buf *out, const char *name, const char *text)
{
    if (!text)
        return;
    cs_buf_puts(out, name);
    cs_put_string(out, text, strlen(text));
}

static void put_list(cs_buf *out, const char *name, const char *json)
{
    if (!json)
        return;
    cs_buf_puts(out, name);
    cs_buf_puts(out, json);
}

static void write_info(cs_buf *out, const csync_batch *batch)
{
    if (batch->has_info) {
        cs_buf_puts(out, ",\"fromVersion\":");
        cs_buf_put_int(out, batch->from_version);
        cs_buf_puts(out, ",\"toVersion\":");
        cs_buf_put_int(out, batch->to_version);
        cs_buf_puts(out, batch->has_more ? ",\"hasMore\":true" : ",\"hasMore\":false");
    }
    if (batch->hash[0]) {
        cs_buf_puts(out, ",\"hash\":");
        cs_put_string(out, batch->hash, strlen(batch->hash));
    }
    put_text(out, ",\"origin\":", batch->origin);
    put_text(out, ",\"epoch\":", batch->epoch);
    put_text(out, ",\"fromEpoch\":", batch->from_epoch);
    if (batch->has_peer) {
        cs_buf_puts(out, ",\"peerVersion\":");
        cs_buf_put_int(out, batch->peer_version);
        put_text(out, ",\"peerEpoch\":", batch->peer_epoch);
    }
    put_text(out, ",\"floor\":", batch->floor);
    put_text(out, ",\"cursor\":", batch->cursor);
    put_text(out, ",\"fromCursor\":", batch->from_cursor);
    put_text(out, ",\"idempotencyKey\":", batch->key);
    if (batch->compare)
        cs_buf_puts(out, ",\"compare\":true");
    put_list(out, ",\"tables\":", batch->tables);
    put_list(out, ",\"heard\":", batch->heard);
    put_text(out, ",\"copiedFrom\":", batch->copied_from);
}

void cs_batch_write(cs_buf *out, const csync_batch *batch)
{
    /* about what it takes; the rest grows */
    cs_buf_reserve(out, batch->bytes + batch->bytes / 4 + batch->count * 224 + FIXED);
    cs_buf_puts(out, "{\"changes\":[");
    for (size_t i = 0; i < batch->count && !out->failed; i++) {
        const cs_change *c = &batch->items[i];

        if (i)
            cs_buf_putc(out, ',');
        write_change(out, &c->pub, c->table_len, c->pk_len, c->payload_len);
    }
    cs_buf_putc(out, ']');
    write_info(out, batch);
    cs_buf_putc(out, '}');
}
