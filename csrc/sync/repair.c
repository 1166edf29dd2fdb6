/* repair.c - rows that are not what their heads say, made so again. */
#include "sync/repair.h"

#include "base/mem.h"

typedef struct repairing {
    cs_repair *items;
    size_t count;
    size_t *order, ordered;
} repairing;

static int ignore_row(void *ctx, const cs_value *values, size_t count, csync_error *err)
{
    (void)ctx;
    (void)values;
    (void)count;
    (void)err;
    return CSYNC_OK;
}

static int is_its_change(const cs_head *head, const cs_change *change)
{
    cs_stamp stamp = cs_change_stamp(change);

    return head->found && !head->parked && head->deleted == (change->pub.operation == CSYNC_DELETE) &&
           cs_stamp_compare(&head->stamp, &stamp) == 0;
}

static int repair_row(cs_backend *b, cs_repair *r, csync_error *err)
{
    const csync_change *change = &r->change->pub;
    cs_table *t = cs_backend_table(b, change->table, r->change->table_len);
    csync_error why = CSYNC_ERROR_INIT;
    cs_head head;
    int rc;

    r->reason = "changed meanwhile";
    rc = b->ops->look(b, t, change->pk, &head, ignore_row, NULL, &why);
    if (rc == CSYNC_OK && is_its_change(&head, r->change))
        rc = b->ops->restore(b, t, change, &r->reason, &why);
    r->is_done = rc == CSYNC_OK && !r->reason;
    if (rc == CSYNC_EINVAL || rc == CSYNC_ESCHEMA)
        return cs_fail(err, CSYNC_EPROTO, "the peer's row does not fit: %s", why.message);
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    return rc;
}

/* A row may have to wait for another: again, as long as that helps. */
static int repair_all(cs_backend *b, repairing *r, csync_error *err)
{
    int progress = 1, rc = CSYNC_OK;

    while (progress) {
        progress = 0;
        for (size_t i = 0; i < r->ordered; i++) {
            cs_repair *item = &r->items[r->order[i]];

            if (item->is_done)
                continue;
            rc = repair_row(b, item, err);
            if (rc != CSYNC_OK)
                return rc;
            progress |= item->is_done;
        }
    }
    return rc;
}

/* A row of a table that is not tracked is in no order: it stays as it is. */
static int make_order(cs_backend *b, repairing *r, csync_error *err)
{
    cs_item *items = cs_calloc(r->count, sizeof *items);
    int rc;

    if (!items)
        return cs_fail_nomem(err);
    for (size_t i = 0; i < r->count; i++) {
        const cs_change *c = r->items[i].change;

        r->items[i].reason = "changed meanwhile";
        items[i].change = c;
        items[i].table = cs_backend_table(b, c->pub.table, c->table_len);
    }
    rc = cs_items_order(items, r->count, r->order, &r->ordered, err);
    cs_free(items);
    return rc;
}

static int run(csync *c, void *ctx, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc = b->ops->suppress(b, 1, err);

    if (rc == CSYNC_OK)
        rc = b->ops->fold(b, err);
    if (rc == CSYNC_OK)
        rc = make_order(b, ctx, err);
    if (rc == CSYNC_OK)
        rc = repair_all(b, ctx, err);
    if (rc == CSYNC_OK)
        rc = b->ops->retry_parked(b, err);
    return rc == CSYNC_OK ? b->ops->suppress(b, 0, err) : rc;
}

int cs_repair_rows(csync *c, cs_repair *items, size_t count, csync_error *err)
{
    repairing r = {.items = items, .count = count};
    int rc = cs_replica_enter(c, err);

    if (rc != CSYNC_OK)
        return rc;
    r.order = cs_calloc(count, sizeof *r.order);
    rc = r.order ? cs_replica_write(c, run, &r, err) : cs_fail_nomem(err);
    cs_free(r.order);
    return cs_replica_leave(c, rc, err);
}
