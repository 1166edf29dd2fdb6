/* verify_repair.c - rows that are wrong here are fetched from the peer and written. */
#include <string.h>

#include "base/mem.h"
#include "sync/repair.h"
#include "sync/verify.h"

#define MANY 1000
#define MANY_BYTES ((size_t)4 << 20)

static int add_repair(cs_verify *v, const cs_suspect *s, const char *payload, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    csync_change change = {.struct_size = sizeof change,
                           .operation = payload ? CSYNC_UPDATE : CSYNC_DELETE,
                           .table = s->table,
                           .pk = s->pk,
                           .payload = payload,
                           .origin = s->mine->origin,
                           .timestamp = s->mine->timestamp,
                           .seq = s->mine->seq};
    int rc;

    if (!v->repairs && !(v->repairs = cs_batch_create()))
        return cs_fail_nomem(err);
    if (cs_grow(&v->repair_of, &v->repair_cap, v->repairs->count + 1, sizeof *v->repair_of) !=
        CSYNC_OK)
        return cs_fail_nomem(err);
    rc = cs_verify_protocol(cs_batch_add(v->repairs, &change, &why), &why, err);
    if (rc == CSYNC_OK)
        v->repair_of[v->repairs->count - 1] = s->reported;
    return rc;
}

static int is_same_state(const cs_row_state *a, const cs_row_state *b)
{
    return a->head == b->head && b->digest && b->payload && strcmp(a->digest, b->digest) == 0 &&
           cs_verify_same_stamp(a, b);
}

/* Asks for the rows themselves; the peer may answer only the first of them. */
static int fetch_rows(cs_verify *v, const cs_suspect *suspects, const char *const *pks,
                      size_t count, size_t *done, csync_error *err)
{
    cs_digest_answer theirs = {0};
    int rc;

    cs_buf_clear(&v->request);
    cs_digest_put_keys(&v->request, suspects->table, pks, count, 1);
    rc = cs_buf_check(&v->request, err);
    if (rc == CSYNC_OK)
        rc = cs_verify_ask_peer(v, CS_ASK_STATES, &theirs, err);
    if (rc == CSYNC_OK && (!theirs.count || theirs.count > count))
        rc = cs_fail(err, CSYNC_EPROTO, "the peer answered %zu of %zu keys", theirs.count, count);
    *done = theirs.count;
    for (size_t i = 0; rc == CSYNC_OK && i < theirs.count; i++)
        if (is_same_state(suspects[i].theirs, &theirs.states[i]))
            rc = add_repair(v, &suspects[i], theirs.states[i].payload, err);
    cs_digest_answer_free(&theirs);
    return rc;
}

/* `suspects` all have a row there. */
static int fetch_all(cs_verify *v, const cs_suspect *suspects, size_t count, csync_error *err)
{
    const char **pks = cs_calloc(count, sizeof *pks);
    size_t done = 0;
    int rc = pks ? CSYNC_OK : cs_fail_nomem(err);

    for (size_t i = 0; pks && i < count; i++)
        pks[i] = suspects[i].pk;
    for (size_t i = 0; rc == CSYNC_OK && i < count; i += done) {
        rc = fetch_rows(v, suspects + i, pks + i, count - i, &done, err);
        if (rc == CSYNC_OK)
            rc = cs_verify_flush(v, 0, err);
    }
    cs_free(pks);
    return rc;
}

int cs_verify_suspects(cs_verify *v, const cs_suspect *suspects, size_t count, csync_error *err)
{
    cs_suspect *live = cs_calloc(count, sizeof *live);
    size_t n = 0;
    int rc = live ? CSYNC_OK : cs_fail_nomem(err);

    for (size_t i = 0; rc == CSYNC_OK && i < count; i++) {
        if (suspects[i].mine->head == CS_HEAD_DELETED)
            rc = add_repair(v, &suspects[i], NULL, err);
        else
            live[n++] = suspects[i];
    }
    if (rc == CSYNC_OK && n)
        rc = fetch_all(v, live, n, err);
    if (rc == CSYNC_OK)
        rc = cs_verify_flush(v, 0, err);
    cs_free(live);
    return rc;
}

/* ---- writing ---- */

/* Notes what became of each; those that were refused stay and are tried again with the next. */
static int settle(cs_verify *v, const cs_repair *items, csync_error *err)
{
    csync_batch *before = v->repairs, *left = cs_batch_create();
    int rc = left ? CSYNC_OK : cs_fail_nomem(err);

    for (size_t i = 0; rc == CSYNC_OK && i < before->count; i++) {
        ptrdiff_t at = v->repair_of[i];

        v->repaired += items[i].is_done;
        if (at >= 0) {
            v->differences[at].is_repaired = items[i].is_done;
            v->differences[at].reason = items[i].reason;
        }
        if (items[i].is_done)
            continue;
        v->repair_of[left->count] = at;
        rc = cs_batch_append(left, &before->items[i].pub, before->items[i].ts, err);
    }
    v->repairs = left;
    v->tried = left ? left->count : 0;
    cs_batch_destroy(before);
    return rc;
}

int cs_verify_flush(cs_verify *v, int last, csync_error *err)
{
    size_t count = v->repairs ? v->repairs->count : 0;
    cs_repair *items;
    int rc;

    if (count == 0 || (!last && count - v->tried < MANY && v->repairs->bytes < MANY_BYTES))
        return CSYNC_OK;
    items = cs_calloc(count, sizeof *items);
    if (!items)
        return cs_fail_nomem(err);
    for (size_t i = 0; i < count; i++)
        items[i].change = &v->repairs->items[i];
    rc = cs_repair_rows(v->replica, items, count, err);
    if (rc == CSYNC_OK)
        rc = settle(v, items, err);
    cs_free(items);
    return rc;
}
