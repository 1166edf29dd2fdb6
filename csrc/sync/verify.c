/* verify.c - this replica's tables compared with a peer's.
 *
 * Rows fall into buckets by the SHA-256 of their key. Where the digests of a table differ, those of its buckets are
 * compared, then of narrower buckets within the buckets that differ, until they hold but a few rows: what travels
 * grows with the differences, not with the table. Each step costs both sides a scan of the table. */
#include "sync/verify.h"

#include <string.h>

#include "base/mem.h"
#include "sync/digest.h"

#define ROWS_PER_BUCKET 16 /* in buckets this small rows are compared */

/* ---- asking ---- */

int cs_verify_protocol(int rc, const csync_error *why, csync_error *err)
{
    if (rc == CSYNC_EINVAL)
        return cs_fail(err, CSYNC_EPROTO, "the peer's answer is malformed: %s", why->message);
    if (rc != CSYNC_OK)
        cs_error_copy(err, why);
    return rc;
}

static int report_progress(cs_verify *v, csync_error *err)
{
    csync_progress progress = {.struct_size = sizeof progress, .phase = CSYNC_VERIFYING};
    int rc = cs_replica_cancelled(v->replica, err);

    progress.changes = v->found;
    progress.bytes = v->bytes;
    if (rc != CSYNC_OK || !v->options.on_progress)
        return rc;
    if (v->options.on_progress(v->options.user_data, &progress) != CSYNC_OK)
        return cs_fail(err, CSYNC_ECALLBACK, "the progress callback stopped the comparison");
    return CSYNC_OK;
}

static int ask_self(cs_verify *v, enum cs_digest_kind kind, cs_digest_answer *mine, csync_error *err)
{
    char *answer = NULL;
    int rc = cs_replica_enter(v->replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = cs_digest_serve(v->replica, v->request.data, &answer, err);
    rc = cs_replica_leave(v->replica, rc, err);
    if (rc == CSYNC_OK)
        rc = cs_digest_answer_read(mine, kind, answer, strlen(answer), err);
    cs_free(answer);
    return rc;
}

int cs_verify_ask_peer(cs_verify *v, enum cs_digest_kind kind, cs_digest_answer *theirs,
                       csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    char *answer = NULL;
    int rc = v->ask(v->ctx, v->request.data, &answer, err);

    if (rc == CSYNC_OK && !answer)
        rc = cs_fail(err, CSYNC_EPROTO, "the peer gave no answer to a digest request");
    if (rc == CSYNC_OK) {
        v->rounds++;
        v->bytes += (int64_t)(v->request.len + strlen(answer));
        rc = cs_verify_protocol(cs_digest_answer_read(theirs, kind, answer, strlen(answer), &why),
                                &why, err);
    }
    cs_free(answer);
    return rc == CSYNC_OK ? report_progress(v, err) : rc;
}

int cs_verify_ask(cs_verify *v, enum cs_digest_kind kind, cs_digest_answer *mine,
                  cs_digest_answer *theirs, csync_error *err)
{
    int rc = cs_buf_check(&v->request, err);

    if (rc == CSYNC_OK)
        rc = ask_self(v, kind, mine, err);
    return rc == CSYNC_OK ? cs_verify_ask_peer(v, kind, theirs, err) : rc;
}

/* ---- buckets ---- */

typedef struct prefixes {
    uint64_t *list;
    size_t count, cap;
} prefixes;

static int add_prefix(prefixes *p, uint64_t prefix, csync_error *err)
{
    if (cs_grow(&p->list, &p->cap, p->count + 1, sizeof *p->list) != CSYNC_OK)
        return cs_fail_nomem(err);
    p->list[p->count++] = prefix;
    return CSYNC_OK;
}

/* The buckets that are not the same on both sides. */
static int compare_buckets(const cs_digest_answer *mine, const cs_digest_answer *theirs,
                           prefixes *out, csync_error *err)
{
    size_t i = 0, j = 0;
    int rc = CSYNC_OK;

    while (rc == CSYNC_OK && (i < mine->count || j < theirs->count)) {
        const cs_bucket *a = i < mine->count ? &mine->buckets[i] : NULL;
        const cs_bucket *b = j < theirs->count ? &theirs->buckets[j] : NULL;
        const cs_bucket *first = !b || (a && a->prefix <= b->prefix) ? a : b;
        int both = a && b && a->prefix == b->prefix;

        if (!both || a->sum != b->sum)
            rc = add_prefix(out, first->prefix, err);
        i += both || first == a;
        j += both || first == b;
    }
    return rc;
}

/* That the peer answered buckets that it was asked for. */
static int check_buckets(const cs_digest_answer *theirs, const uint64_t *asked, size_t count,
                         int digits, csync_error *err)
{
    size_t at = 0;

    for (size_t i = 0; i < theirs->count; i++) {
        uint64_t parent = theirs->buckets[i].prefix >> (4 * digits);

        while (at < count && asked[at] < parent)
            at++;
        if (at == count || asked[at] != parent)
            return cs_fail(err, CSYNC_EPROTO, "the peer answered a bucket that was not asked for");
    }
    return CSYNC_OK;
}

static int narrow_some(cs_verify *v, const char *table, const uint64_t *asked, size_t count,
                       size_t width, int digits, prefixes *out, csync_error *err)
{
    cs_digest_answer mine = {0}, theirs = {0};
    int rc;

    cs_buf_clear(&v->request);
    cs_digest_put_prefixes(&v->request, table, asked, count, width, digits);
    rc = cs_verify_ask(v, CS_ASK_BUCKETS, &mine, &theirs, err);
    if (rc == CSYNC_OK)
        rc = check_buckets(&theirs, asked, count, digits, err);
    if (rc == CSYNC_OK)
        rc = compare_buckets(&mine, &theirs, out, err);
    cs_digest_answer_free(&mine);
    cs_digest_answer_free(&theirs);
    return rc;
}

/* Replaces the prefixes by longer ones, of the buckets that differ. */
static int narrow(cs_verify *v, const char *table, prefixes *p, size_t width, int digits,
                  csync_error *err)
{
    const size_t most = CS_BUCKETS_MAX >> (4 * digits);
    size_t at_once = most < CS_PREFIXES_MAX ? most : CS_PREFIXES_MAX;
    prefixes out = {0};
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < p->count; i += at_once) {
        size_t n = p->count - i < at_once ? p->count - i : at_once;

        rc = narrow_some(v, table, p->list + i, n, width, digits, &out, err);
    }
    cs_free(p->list);
    *p = out;
    return rc;
}

/* How many digits it takes until a bucket holds but a few rows. */
static size_t depth_of(const cs_tally *t)
{
    int64_t rows = t->rows > t->peer_rows ? t->rows : t->peer_rows;
    size_t digits = 0;

    while (digits < CS_PREFIX_MAX && rows >> (4 * digits) > ROWS_PER_BUCKET)
        digits++;
    return digits;
}

static int compare_table(cs_verify *v, cs_tally *t, csync_error *err)
{
    size_t depth = depth_of(t), width = 0;
    prefixes p = {0};
    int rc = add_prefix(&p, 0, err);

    while (rc == CSYNC_OK && width < depth) {
        int digits = width == 0 && depth > 1 ? 2 : 1; /* once: each such step costs 6 KB a bucket */

        rc = narrow(v, t->table, &p, width, digits, err);
        width += (size_t)digits;
    }
    if (rc == CSYNC_OK && p.count)
        rc = cs_verify_rows(v, t, p.list, p.count, width, err);
    cs_free(p.list);
    return rc;
}

/* ---- tables ---- */

/* Either may be NULL: tracked on the other side only. */
static int add_tally(cs_verify *v, const cs_table_digest *mine, const cs_table_digest *theirs,
                     csync_error *err)
{
    const char *name = mine ? mine->table : theirs->table;
    cs_tally *t;

    if (cs_grow(&v->tallies, &v->tally_cap, v->tally_count + 1, sizeof *t) != CSYNC_OK)
        return cs_fail_nomem(err);
    t = &v->tallies[v->tally_count];
    memset(t, 0, sizeof *t);
    t->table = cs_arena_copy(&v->arena, name, strlen(name));
    if (!t->table)
        return cs_fail_nomem(err);
    v->tally_count++;
    t->is_here = mine != NULL;
    t->is_there = theirs != NULL;
    t->rows = mine ? mine->rows : 0;
    t->peer_rows = theirs ? theirs->rows : 0;
    t->has_other_shape = mine && theirs && strcmp(mine->shape, theirs->shape) != 0;
    if (!mine || !theirs || t->has_other_shape) {
        v->is_equal = 0;
        return CSYNC_OK;
    }
    if (strcmp(mine->digest, theirs->digest) == 0 && mine->rows == theirs->rows)
        return CSYNC_OK;
    v->is_equal = 0;
    return compare_table(v, t, err);
}

static int compare_tables(cs_verify *v, const cs_digest_answer *mine,
                          const cs_digest_answer *theirs, csync_error *err)
{
    size_t i = 0, j = 0;
    int rc = CSYNC_OK;

    while (rc == CSYNC_OK && (i < mine->count || j < theirs->count)) {
        const cs_table_digest *a = i < mine->count ? &mine->tables[i] : NULL;
        const cs_table_digest *b = j < theirs->count ? &theirs->tables[j] : NULL;
        int order = !a ? 1 : !b ? -1 : strcmp(a->table, b->table);

        rc = add_tally(v, order <= 0 ? a : NULL, order >= 0 ? b : NULL, err);
        i += order <= 0;
        j += order >= 0;
    }
    return rc;
}

int cs_verify_run(cs_verify *v, csync_error *err)
{
    cs_digest_answer mine = {0}, theirs = {0};
    int rc;

    v->is_equal = 1;
    cs_buf_puts(&v->request, "{}");
    rc = cs_verify_ask(v, CS_ASK_TABLES, &mine, &theirs, err);
    if (rc == CSYNC_OK)
        rc = compare_tables(v, &mine, &theirs, err);
    if (rc == CSYNC_OK)
        rc = cs_verify_flush(v, 1, err);
    cs_digest_answer_free(&mine);
    cs_digest_answer_free(&theirs);
    return rc;
}

void cs_verify_free(cs_verify *v)
{
    cs_buf_free(&v->request);
    cs_batch_destroy(v->repairs);
    cs_free(v->repair_of);
    cs_free(v->differences);
    cs_free(v->tallies);
    cs_arena_free(&v->arena);
}
