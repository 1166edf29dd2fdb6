/* ring.c - frames and the rings of topics. */
#include <string.h>

#include "base/mem.h"
#include "codec/canonical.h"
#include "codec/wire.h"
#include "http/hub.h"

void cs_frame_release(cs_frame *f)
{
    if (f && --f->references == 0)
        cs_free(f);
}

void cs_topic_drop_first(cs_topic *t)
{
    cs_frame *f = t->ring[t->first % RING];

    t->bytes -= f->len;
    t->ring[t->first++ % RING] = NULL;
    cs_frame_release(f);
    if (t->first < t->end)
        return;
    cs_free(t->ring);
    t->ring = NULL;
}

/* NULL frame: there was no memory for it, and whoever follows the topic has missed something. */
void cs_topic_publish(cs_topic *t, cs_frame *f)
{
    while (t->first < t->end && (!f || t->end - t->first == RING || t->bytes + f->len > RING_BYTES))
        cs_topic_drop_first(t);
    if (f && !t->ring)
        t->ring = cs_calloc(RING, sizeof *t->ring);
    if (!f || !t->ring) {
        t->first = ++t->end;
        return;
    }
    f->references++;
    t->bytes += f->len;
    t->ring[t->end++ % RING] = f;
}

void cs_event_put_change(cs_buf *b, const csync_change *change)
{
    cs_buf_printf(b, "id: %lld\nevent: change\ndata: ", (long long)change->version);
    cs_change_write(b, change);
    cs_buf_puts(b, "\n\n");
}

/* NULL: out of memory. With one reference. */
cs_frame *cs_frame_of(const csync_change *change)
{
    cs_buf b = {0};
    cs_frame *f = NULL;

    cs_event_put_change(&b, change);
    if (!b.failed)
        f = cs_malloc(sizeof *f + b.len);
    if (f) {
        f->references = 1;
        f->len = b.len;
        memcpy(f->data, b.data, b.len);
    }
    cs_buf_free(&b);
    return f;
}

int cs_topic_takes(const cs_topic *t, const csync_change *change)
{
    int order = 0;

    if (t->table ? strcmp(t->table, change->table) != 0 : !cs_scope_has(&t->scope, change->table))
        return 0;
    return !t->pk ||
           cs_canonical_order(t->pk, strlen(t->pk), change->pk, strlen(change->pk), &order, NULL) !=
               CSYNC_OK ||
           order == 0;
}

static int is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static int is_topic(const cs_topic *t, const char *table, const char *pk, const cs_scope *scope)
{
    return is_same(t->table, table) && is_same(t->pk, pk) &&
           (table || cs_scope_same(&t->scope, scope));
}

static void free_topic(cs_topic *t)
{
    while (t->first < t->end)
        cs_topic_drop_first(t);
    cs_free(t->table);
    cs_free(t->pk);
    cs_arena_free(&t->texts);
    cs_free(t);
}

cs_topic *cs_topic_find(cs_hub *hub, const char *table, const char *pk, const cs_scope *scope)
{
    cs_topic *t = hub->topics;

    while (t && !is_topic(t, table, pk, scope))
        t = t->next;
    if (t)
        return t;
    t = cs_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->table = cs_strdup(table);
    t->pk = cs_strdup(pk);
    if ((table && !t->table) || (pk && !t->pk) ||
        (!table && cs_scope_copy(&t->scope, scope, &t->texts, NULL) != CSYNC_OK)) {
        free_topic(t);
        return NULL;
    }
    t->next = hub->topics;
    hub->topics = t;
    return t;
}

void cs_topic_drop(cs_hub *hub, cs_topic *t)
{
    cs_topic **p = &hub->topics;

    while (*p != t)
        p = &(*p)->next;
    *p = t->next;
    free_topic(t);
}
