/* serve.c - a snapshot's pages: the cursor, the order of the tables, and when a page is full. */
#include "backend/serve.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/epoch.h"

int cs_serve_bad_cursor(csync_error *err)
{
    return cs_fail(err, CSYNC_EINVAL, "this is no cursor of a snapshot of this replica");
}

static int restart(const cs_serving *s, csync_error *err)
{
    if (cs_error_writable(err))
        err->version = 0;
    return cs_fail(err, CSYNC_EFULLRESYNC,
                   "the tables of replica %s have changed; the snapshot begins anew", s->b->origin);
}

/* ---- the cursor ---- */

/* A number up to `stop`; NULL: there is none. */
static const char *read_number(const char *text, char stop, int64_t *out)
{
    char *end;

    if (*text < '0' || *text > '9')
        return NULL;
    *out = strtoll(text, &end, 10);
    return *end == stop ? end + 1 : NULL;
}

static int read_cursor(cs_serving *s, csync_error *err)
{
    const char *cursor = s->request->cursor, *p, *colon;
    size_t schema = strcspn(cursor, ":");
    int64_t version = 0, len = 0;
    char epoch[CS_EPOCH_SIZE];

    p = cursor[schema] ? read_number(cursor + schema + 1, '.', &version) : NULL;
    colon = p ? strchr(p, ':') : NULL;
    if (!colon || (size_t)(colon - p) >= sizeof epoch)
        return cs_serve_bad_cursor(err);
    memcpy(epoch, p, (size_t)(colon - p));
    epoch[colon - p] = 0;
    s->at = cs_position_make(version, epoch);
    p = read_number(colon + 1, ':', &len);
    if (!p || (uint64_t)len > strlen(p))
        return cs_serve_bad_cursor(err);
    s->table = p;
    s->table_len = (size_t)len;
    s->key = p + len;
    if (cs_position_scope(&s->at) != cs_scope_mark(&s->request->scope))
        return cs_backend_other_tables(s->b, version, err);
    return schema == strlen(s->schema) && memcmp(cursor, s->schema, schema) == 0 ? CSYNC_OK
                                                                                 : restart(s, err);
}

static void write_cursor(cs_serving *s, const csync_change *c, int64_t unknown)
{
    cs_buf_clear(s->next);
    cs_buf_printf(s->next, "%s:%lld.%s:", s->schema, (long long)s->at.version, s->at.epoch);
    if (unknown)
        cs_buf_printf(s->next, "0:%lld", (long long)unknown);
    else
        cs_buf_printf(s->next, "%zu:%s%s", strlen(c->table), c->table, c->pk);
}

/* ---- rows and tables ---- */

int cs_serve_row(cs_serving *s, const csync_change *c, int64_t ts, int64_t unknown, csync_error *err)
{
    int rc;

    if (!cs_scope_has(&s->request->scope, c->table))
        return CSYNC_OK;
    s->full = s->batch->count >= (size_t)s->request->limit ||
              (s->batch->count > 0 && s->batch->bytes >= s->request->max_bytes);
    if (s->full)
        return CSYNC_OK;
    rc = cs_batch_append(s->batch, c, ts, err);
    if (rc == CSYNC_OK)
        write_cursor(s, c, unknown);
    return rc;
}

static int is_table(const cs_table *t, const cs_serving *s)
{
    return strlen(t->name) == s->table_len && memcmp(t->name, s->table, s->table_len) == 0;
}

static int read_tables(cs_serving *s, csync_error *err)
{
    size_t n = s->b->table_count, i = 0;
    const char *after = *s->request->cursor ? s->key : NULL;
    cs_table **order;
    int rc = cs_backend_ranked(s->b, &order, err);

    if (rc != CSYNC_OK)
        return rc;
    while (after && i < n && !is_table(order[i], s))
        i++;
    if (after && i == n)
        rc = cs_serve_bad_cursor(err);
    for (; rc == CSYNC_OK && i < n && !s->full; i++, after = NULL)
        if (cs_scope_has(&s->request->scope, order[i]->name))
            rc = s->read_table(s, order[i], after, err);
    cs_free(order);
    return rc == CSYNC_OK && !s->full ? s->read_unknown(s, 0, err) : rc;
}

static int begin(cs_serving *s, csync_error *err)
{
    int rc = s->b->ops->position(s->b, &s->at, err);

    cs_position_set_scope(&s->at, cs_scope_mark(&s->request->scope));
    return rc;
}

static int read_page(cs_serving *s, csync_error *err)
{
    int64_t id = 0;

    if (!*s->request->cursor || s->table_len)
        return read_tables(s, err);
    return read_number(s->key, 0, &id) ? s->read_unknown(s, id, err) : cs_serve_bad_cursor(err);
}

int cs_serve_page(cs_serving *s, csync_error *err)
{
    int rc = *s->request->cursor ? read_cursor(s, err) : begin(s, err);

    if (rc == CSYNC_OK)
        rc = read_page(s, err);
    if (rc != CSYNC_OK)
        return rc;
    if (!s->full)
        cs_buf_clear(s->next);
    s->batch->has_info = 1;
    s->batch->has_more = s->full;
    s->batch->from_version = s->batch->to_version = s->at.version;
    rc = cs_batch_text(s->batch, s->at.epoch, &s->batch->epoch, err);
    return rc == CSYNC_OK ? cs_buf_check(s->next, err) : rc;
}
