/* conflict.c - last-write-wins, server-wins, client-wins and the application's own resolver.
 *
 * A conflict is true concurrency: a remote change meets a local one that no peer has, and neither saw the
 * other. Everything else goes by stamp alone. */
#include "sync/conflict.h"

#include <string.h>

#include "base/mem.h"
#include "base/rules.h"
#include "codec/canonical.h"
#include "codec/row.h"

const char *cs_strategy_name(int strategy)
{
    static const char *const names[] = {"last-write-wins", "server-wins", "client-wins", "custom"};

    return strategy >= 0 && strategy <= CSYNC_CUSTOM ? names[strategy] : "?";
}

/* ---- order ---- */

static int stamp_of(const csync_change *c, cs_stamp *out, csync_error *err)
{
    out->origin = c->origin ? c->origin : "";
    out->seq = c->seq;
    if (c->timestamp && cs_time_parse(c->timestamp, strlen(c->timestamp), &out->ts) == 0)
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EINVAL, "\"%.40s\" is no timestamp", c->timestamp ? c->timestamp : "");
}

static int compare_payloads(const char *a, const char *b, int *order, csync_error *err)
{
    return cs_canonical_order(a, strlen(a), b, strlen(b), order, err);
}

int cs_change_compare(const csync_change *a, const csync_change *b, int *order, csync_error *err)
{
    cs_stamp x, y;
    int rc = stamp_of(a, &x, err);

    if (rc == CSYNC_OK)
        rc = stamp_of(b, &y, err);
    if (rc != CSYNC_OK)
        return rc;
    *order = cs_stamp_compare(&x, &y);
    if (*order == 0)
        *order = !a->payload - !b->payload;
    if (*order == 0 && a->payload)
        rc = compare_payloads(a->payload, b->payload, order, err);
    return rc;
}

int cs_change_same_row(const csync_change *a, const csync_change *b, int *same, csync_error *err)
{
    int order = 1;
    int rc = CSYNC_OK;

    if (strcmp(a->table, b->table) == 0)
        rc = compare_payloads(a->pk, b->pk, &order, err);
    *same = order == 0;
    return rc;
}

int cs_change_same(const csync_change *a, const csync_change *b, int *same, csync_error *err)
{
    int order = 0;
    int rc = CSYNC_OK;

    *same = !a->payload == !b->payload;
    if (*same && a->payload) {
        rc = compare_payloads(a->payload, b->payload, &order, err);
        *same = order == 0;
    }
    return rc;
}

/* ---- the resolver's answer ---- */

static int has_member(cs_row *row, const char *json, const char *name, size_t len, csync_error *err)
{
    const char *have;
    size_t have_len;
    cs_value value;
    int rc = cs_row_open(row, json, strlen(json), err);

    while (rc == CSYNC_OK && (rc = cs_row_next(row, &have, &have_len, &value, err)) == 1) {
        if (have_len == len && memcmp(have, name, len) == 0)
            return 1;
        rc = CSYNC_OK;
    }
    return rc;
}

/* Appends the members of `json` that `except` (may be NULL) does not have. */
static int put_members(cs_buf *out, const char *json, const char *except, csync_error *err)
{
    cs_row row = {0}, other = {0};
    const char *name;
    size_t len;
    cs_value value;
    int rc = cs_row_open(&row, json, strlen(json), err);

    while (rc == CSYNC_OK && (rc = cs_row_next(&row, &name, &len, &value, err)) == 1) {
        rc = except ? has_member(&other, except, name, len, err) : 0;
        if (rc == 0) {
            cs_buf_putc(out, out->len ? ',' : '{');
            cs_put_string(out, name, len);
            cs_buf_putc(out, ':');
            cs_put_value(out, &value);
        }
        rc = rc < 0 ? rc : CSYNC_OK;
    }
    cs_row_close(&row);
    cs_row_close(&other);
    return rc;
}

/* The merged row: the resolver's columns, and the local row's where it names none. */
static int merge_rows(const char *local, const char *merged, cs_buf *out, csync_error *err)
{
    int rc = put_members(out, merged, NULL, err);

    if (rc == CSYNC_OK && local)
        rc = put_members(out, local, merged, err);
    cs_buf_puts(out, out->len ? "}" : "{}");
    return rc == CSYNC_OK ? cs_buf_check(out, err) : rc;
}

typedef struct sides {
    const csync_change *local, *remote, *base;
} sides;

static int check_decision(const csync_decision *d, const char *table, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;

    if (d->kind < CSYNC_KEEP_LOCAL || d->kind > CSYNC_MERGE ||
        (d->kind == CSYNC_MERGE && !d->payload))
        return cs_fail(err, CSYNC_EMISUSE,
                       "the conflict callback gave no valid decision on table \"%s\"", table);
    if (d->kind == CSYNC_MERGE && cs_row_check(d->payload, strlen(d->payload), 0, &why) != CSYNC_OK)
        return cs_fail(err, CSYNC_EMISUSE, "the conflict callback gave no row for table \"%s\": %s",
                       table, why.message);
    return CSYNC_OK;
}

static int ask(cs_meeting *m, const sides *s, csync_decision *d, csync_error *err)
{
    int rc = m->options->on_conflict(m->options->user_data, s->local, s->remote, s->base, d);

    if (rc != CSYNC_OK)
        return cs_fail(err, CSYNC_ECALLBACK, "the conflict callback failed on table \"%s\"",
                       s->local->table);
    return check_decision(d, s->local->table, err);
}

static int decide(cs_meeting *m, const sides *s, csync_decision *d, csync_error *err)
{
    int order = 0;
    int rc = CSYNC_OK;

    switch (m->options->strategy) {
    case CSYNC_SERVER_WINS:
        d->kind = CSYNC_TAKE_REMOTE;
        return CSYNC_OK;
    case CSYNC_CLIENT_WINS:
        d->kind = CSYNC_KEEP_LOCAL;
        return CSYNC_OK;
    case CSYNC_CUSTOM:
        return ask(m, s, d, err);
    default:
        rc = cs_change_compare(s->local, s->remote, &order, err);
        d->kind = order < 0 ? CSYNC_TAKE_REMOTE : CSYNC_KEEP_LOCAL;
        return rc;
    }
}

/* ---- carrying it out ---- */

static int audit(cs_meeting *m, const char *decision, const csync_change *loser,
                 const csync_change *winner, csync_error *err)
{
    cs_backend *b = m->replica->backend;
    cs_conflict c = {0, NULL, cs_strategy_name(m->options->strategy), decision, loser, winner};

    return b->ops->conflict_add(b, &c, err);
}

static int add_decision(cs_meeting *m, size_t item, const csync_change *local, const char *payload,
                        csync_error *err)
{
    csync_change c = *local;

    if (cs_grow(&m->decided, &m->decided_cap, m->decisions->count + 1, sizeof *m->decided) != CSYNC_OK)
        return cs_fail_nomem(err);
    c.operation = payload ? CSYNC_UPDATE : CSYNC_DELETE;
    c.payload = payload;
    c.origin = m->replica->backend->origin;
    c.version = c.seq = 0;
    m->decided[m->decisions->count] = item;
    return cs_batch_add(m->decisions, &c, err);
}

/* Takes the remote change as it is, whatever its stamp. */
static int take_remote(cs_meeting *m, cs_item *item, const sides *s, csync_error *err)
{
    item->force = 1;
    return audit(m, "remote", s->local, s->remote, err);
}

/* Last-write-wins leaves both stamps as they are; the other strategies give the decision a new one. */
static int keep_local(cs_meeting *m, cs_item *items, size_t i, const sides *s, csync_error *err)
{
    int rc;

    items[i].status = CSYNC_LOST;
    if (m->options->strategy != CSYNC_LAST_WRITE_WINS)
        return add_decision(m, i, s->local, s->local->payload, err);
    rc = audit(m, "local", s->remote, s->local, err);
    if (rc == CSYNC_OK)
        rc = m->replica->backend->ops->agree(m->replica->backend, items[i].table, s->remote, err);
    return rc;
}

static int merge_result(cs_meeting *m, cs_item *items, size_t i, const sides *s,
                        const char *payload, csync_error *err)
{
    csync_change result = *s->local;
    cs_buf merged = {0};
    int same = 0;
    int rc = payload ? merge_rows(s->local->payload, payload, &merged, err) : CSYNC_OK;

    result.payload = payload ? merged.data : NULL;
    if (rc == CSYNC_OK)
        rc = cs_change_same(&result, s->remote, &same, err);
    if (rc == CSYNC_OK && same) {
        rc = take_remote(m, &items[i], s, err);
    } else if (rc == CSYNC_OK) {
        items[i].status = CSYNC_LOST;
        rc = add_decision(m, i, s->local, result.payload, err);
    }
    cs_buf_free(&merged);
    return rc;
}

static int resolve(cs_meeting *m, cs_item *items, size_t i, const sides *s, csync_error *err)
{
    csync_decision d = {sizeof d, 0, NULL};
    int rc = decide(m, s, &d, err);

    if (rc == CSYNC_OK) {
        m->conflicts++;
        if (d.kind == CSYNC_TAKE_REMOTE)
            rc = take_remote(m, &items[i], s, err);
        else if (d.kind == CSYNC_KEEP_LOCAL)
            rc = keep_local(m, items, i, s, err);
        else
            rc = merge_result(m, items, i, s, d.kind == CSYNC_MERGE ? d.payload : NULL, err);
    }
    cs_free(d.payload); /* from csync_malloc */
    return rc;
}

/* 1 when the head is a local change that nobody has, and the remote one did not see it. */
static int concurrent(const cs_meeting *m, const cs_item *item)
{
    const cs_head *h = &item->head;
    cs_stamp theirs = cs_change_stamp(item->change);

    if (!CS_RULE(CONFLICT) || !item->table || item->status || !h->found || h->agreed || !h->own)
        return 0;
    /* our own, from before this edit or this very one; or its author, who saw it, went on */
    if (cs_backend_made(m->replica->backend, &item->change->pub) ||
        strcmp(theirs.origin, h->stamp.origin) == 0)
        return 0;
    return !CS_RULE(BASE) || !h->has_base || cs_stamp_compare(&theirs, &h->base) > 0;
}

static int meet(cs_meeting *m, cs_item *items, size_t i, csync_error *err)
{
    cs_backend *b = m->replica->backend;
    csync_batch *ours = cs_batch_create();
    sides s = {NULL, &items[i].change->pub, NULL};
    int same = 0;
    int rc = ours ? b->ops->head_change(b, &items[i], ours, err) : cs_fail_nomem(err);

    if (rc == CSYNC_OK && items[i].head.base_version)
        rc = b->ops->log_change(b, items[i].head.base_version, ours, err);
    if (rc == CSYNC_OK) {
        s.local = cs_batch_get(ours, 0);
        s.base = cs_batch_get(ours, 1);
        rc = cs_change_same(s.local, s.remote, &same, err);
    }
    if (rc == CSYNC_OK && !same)
        rc = resolve(m, items, i, &s, err);
    else if (rc == CSYNC_OK && m->options->strategy != CSYNC_LAST_WRITE_WINS)
        items[i].force = 1; /* both did the same: one stamp is enough */
    cs_batch_destroy(ours);
    return rc;
}

int cs_conflicts_meet(cs_meeting *m, cs_item *items, size_t count, csync_error *err)
{
    cs_backend *b = m->replica->backend;
    int rc = b->ops->heads_get(b, items, count, err);

    for (size_t i = 0; rc == CSYNC_OK && i < count; i++)
        if (concurrent(m, &items[i]))
            rc = meet(m, items, i, err);
    return rc;
}

int cs_conflict_decided(cs_meeting *m, const cs_item *item, const csync_change *winner,
                        csync_error *err)
{
    cs_backend *b = m->replica->backend;
    csync_batch *ours = cs_batch_create();
    const csync_change *local, *remote = &item->change->pub;
    const char *decision = winner->payload ? "merged" : "deleted";
    int same = 0;
    int rc = ours ? b->ops->head_change(b, item, ours, err) : cs_fail_nomem(err);

    if (rc == CSYNC_OK) {
        local = cs_batch_get(ours, 0);
        rc = cs_change_same(local, winner, &same, err);
        if (rc == CSYNC_OK)
            rc = audit(m, same ? "local" : decision, remote, winner, err);
        if (rc == CSYNC_OK && !same)
            rc = audit(m, decision, local, winner, err);
    }
    cs_batch_destroy(ours);
    return rc;
}
