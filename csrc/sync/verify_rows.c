/* verify_rows.c - the rows of buckets that differ, one by one: which differ, and what their heads say of it. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/canonical.h"
#include "sync/verify.h"

/* ---- which rows ---- */

/* A row of an answer, by the canonical form of its key. */
typedef struct entry {
    const char *canonical, *pk, *digest;
} entry;

typedef struct entries {
    entry *list;
    size_t count;
    cs_arena texts;
} entries;

static int by_key(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->canonical, ((const entry *)b)->canonical);
}

static int make_entries(const cs_digest_answer *answer, entries *out, csync_error *err)
{
    cs_buf key = {0};
    int rc = CSYNC_OK;

    out->list = cs_calloc(answer->count + 1, sizeof *out->list);
    if (!out->list)
        return cs_fail_nomem(err);
    for (; rc == CSYNC_OK && out->count < answer->count; out->count++) {
        const cs_row_digest *row = &answer->rows[out->count];
        entry *e = &out->list[out->count];

        cs_buf_clear(&key);
        e->pk = row->pk;
        e->digest = row->digest;
        rc = cs_canonical_json(&key, row->pk, strlen(row->pk), err);
        if (rc == CSYNC_OK)
            rc = cs_buf_check(&key, err);
        if (rc == CSYNC_OK && !(e->canonical = cs_arena_copy(&out->texts, key.data, key.len)))
            rc = cs_fail_nomem(err);
    }
    cs_buf_free(&key);
    if (rc == CSYNC_OK)
        qsort(out->list, out->count, sizeof *out->list, by_key);
    return rc;
}

static void free_entries(entries *e)
{
    cs_free(e->list);
    cs_arena_free(&e->texts);
}

/* Keys that are to be looked at, borrowed from the answers. */
typedef struct candidates {
    const char **pks;
    size_t pk_cap;
    int *only_here; /* the peer has no row with exactly this key */
    size_t only_cap;
    size_t count;
} candidates;

static int add_candidate(candidates *c, const char *pk, int only_here, csync_error *err)
{
    if (cs_grow(&c->pks, &c->pk_cap, c->count + 1, sizeof *c->pks) != CSYNC_OK ||
        cs_grow(&c->only_here, &c->only_cap, c->count + 1, sizeof *c->only_here) != CSYNC_OK)
        return cs_fail_nomem(err);
    c->pks[c->count] = pk;
    c->only_here[c->count++] = only_here;
    return CSYNC_OK;
}

static int find_candidates(const entries *mine, const entries *theirs, candidates *out,
                           csync_error *err)
{
    size_t i = 0, j = 0;
    int rc = CSYNC_OK;

    while (rc == CSYNC_OK && (i < mine->count || j < theirs->count)) {
        const entry *a = i < mine->count ? &mine->list[i] : NULL;
        const entry *b = j < theirs->count ? &theirs->list[j] : NULL;
        int order = !a ? 1 : !b ? -1 : by_key(a, b);

        if (order != 0 || strcmp(a->digest, b->digest) != 0)
            rc = add_candidate(out, order < 0 ? a->pk : b->pk, order < 0, err);
        i += order <= 0;
        j += order >= 0;
    }
    return rc;
}

/* ---- what their heads say ---- */

int cs_verify_same_stamp(const cs_row_state *a, const cs_row_state *b)
{
    return a->seq == b->seq && strcmp(a->timestamp, b->timestamp) == 0 &&
           strcmp(a->origin, b->origin) == 0;
}

/* 1 when what is here is to be made what is there. */
static int is_repairable(const cs_row_state *mine, const cs_row_state *theirs)
{
    int is_known = mine->head == CS_HEAD_LIVE || mine->head == CS_HEAD_DELETED;

    if (!is_known || mine->head != theirs->head || !cs_verify_same_stamp(mine, theirs))
        return 0;
    return mine->head == CS_HEAD_DELETED ? mine->digest != NULL : theirs->digest != NULL;
}

static const char *explain(const cs_row_state *mine, const cs_row_state *theirs)
{
    if (mine->head == CS_HEAD_PARKED || theirs->head == CS_HEAD_PARKED)
        return "parked";
    if ((mine->head == CS_HEAD_NONE && mine->digest) ||
        (theirs->head == CS_HEAD_NONE && theirs->digest))
        return "not captured";
    if (mine->head == CS_HEAD_NONE || theirs->head == CS_HEAD_NONE ||
        !cs_verify_same_stamp(mine, theirs))
        return "pending sync";
    if (mine->head == theirs->head && !is_repairable(mine, theirs))
        return "wrong there";
    return "";
}

static int copy_text(cs_verify *v, const char **text, csync_error *err)
{
    if (*text && !(*text = cs_arena_copy(&v->arena, *text, strlen(*text))))
        return cs_fail_nomem(err);
    return CSYNC_OK;
}

static int copy_state(cs_verify *v, const cs_row_state *from, cs_row_state *to, csync_error *err)
{
    int rc;

    *to = *from;
    to->payload = NULL;
    rc = copy_text(v, &to->timestamp, err);
    if (rc == CSYNC_OK)
        rc = copy_text(v, &to->origin, err);
    return rc == CSYNC_OK ? copy_text(v, &to->digest, err) : rc;
}

/* Keeps the difference, if it is one of the first. */
static int record(cs_verify *v, cs_tally *t, enum cs_verify_kind kind, cs_suspect *s, csync_error *err)
{
    cs_difference *d;
    int rc;

    t->counts[kind]++;
    v->found++;
    s->reported = -1;
    if (v->difference_count == (size_t)v->options.limit)
        return CSYNC_OK;
    if (cs_grow(&v->differences, &v->difference_cap, v->difference_count + 1, sizeof *d) != CSYNC_OK)
        return cs_fail_nomem(err);
    d = &v->differences[v->difference_count];
    memset(d, 0, sizeof *d);
    d->table = t->table;
    d->pk = s->pk;
    d->kind = kind;
    d->explained = explain(s->mine, s->theirs);
    rc = copy_text(v, &d->pk, err);
    if (rc == CSYNC_OK)
        rc = copy_state(v, s->mine, &d->mine, err);
    if (rc == CSYNC_OK)
        rc = copy_state(v, s->theirs, &d->theirs, err);
    s->reported = (ptrdiff_t)v->difference_count;
    v->difference_count += rc == CSYNC_OK;
    return rc;
}

/* Both may have been written since their digests were made. A key that only we spell this way, where the peer finds a
 * row all the same (a collation), is compared under the peer's spelling. */
static int judge(cs_verify *v, cs_tally *t, cs_suspect *s, int only_here, int *is_suspect,
                 csync_error *err)
{
    const char *mine = s->mine->digest, *theirs = s->theirs->digest;

    *is_suspect = 0;
    if ((!mine && !theirs) || (mine && theirs && strcmp(mine, theirs) == 0) || (only_here && theirs))
        return CSYNC_OK;
    *is_suspect = v->options.repair && is_repairable(s->mine, s->theirs);
    return record(v, t, !mine ? CS_MISSING_HERE : !theirs ? CS_MISSING_THERE : CS_DIFFERS, s, err);
}

/* *done: of how many keys both have said what they are. */
static int judge_some(cs_verify *v, cs_tally *t, const candidates *c, size_t from, size_t *done,
                      csync_error *err)
{
    size_t n = c->count - from < CS_KEYS_MAX ? c->count - from : CS_KEYS_MAX, suspected = 0;
    cs_suspect *suspects = cs_calloc(n, sizeof *suspects);
    cs_digest_answer mine = {0}, theirs = {0};
    int rc = suspects ? CSYNC_OK : cs_fail_nomem(err), is_suspect;

    *done = 0;
    cs_buf_clear(&v->request);
    cs_digest_put_keys(&v->request, t->table, c->pks + from, n, 0);
    if (rc == CSYNC_OK)
        rc = cs_verify_ask(v, CS_ASK_STATES, &mine, &theirs, err);
    if (rc == CSYNC_OK && (!theirs.count || theirs.count > n))
        rc = cs_fail(err, CSYNC_EPROTO, "the peer answered %zu of %zu keys", theirs.count, n);
    for (; rc == CSYNC_OK && *done < mine.count && *done < theirs.count; ++*done) {
        suspects[suspected] = (cs_suspect){t->table, c->pks[from + *done], &mine.states[*done],
                                           &theirs.states[*done], -1};
        rc = judge(v, t, &suspects[suspected], c->only_here[from + *done], &is_suspect, err);
        suspected += is_suspect != 0;
    }
    if (rc == CSYNC_OK && suspected)
        rc = cs_verify_suspects(v, suspects, suspected, err);
    cs_free(suspects);
    cs_digest_answer_free(&mine);
    cs_digest_answer_free(&theirs);
    return rc;
}

static int judge_all(cs_verify *v, cs_tally *t, const candidates *c, csync_error *err)
{
    size_t done = 0;
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < c->count; i += done)
        rc = judge_some(v, t, c, i, &done, err);
    return rc;
}

/* ---- both ---- */

static int compare(cs_verify *v, cs_tally *t, const cs_digest_answer *mine,
                   const cs_digest_answer *theirs, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    candidates found = {0};
    entries a = {0}, b = {0};
    int rc = make_entries(mine, &a, err);

    if (rc == CSYNC_OK)
        rc = cs_verify_protocol(make_entries(theirs, &b, &why), &why, err);
    if (rc == CSYNC_OK)
        rc = find_candidates(&a, &b, &found, err);
    if (rc == CSYNC_OK)
        rc = judge_all(v, t, &found, err);
    free_entries(&a);
    free_entries(&b);
    cs_free(found.pks);
    cs_free(found.only_here);
    return rc;
}

int cs_verify_rows(cs_verify *v, cs_tally *t, const uint64_t *prefixes, size_t count, size_t width,
                   csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < count; i += CS_PREFIXES_MAX) {
        size_t n = count - i < CS_PREFIXES_MAX ? count - i : CS_PREFIXES_MAX;
        cs_digest_answer mine = {0}, theirs = {0};

        cs_buf_clear(&v->request);
        cs_digest_put_prefixes(&v->request, t->table, prefixes + i, n, width, 0);
        rc = cs_verify_ask(v, CS_ASK_ROWS, &mine, &theirs, err);
        if (rc == CSYNC_OK)
            rc = compare(v, t, &mine, &theirs, err);
        cs_digest_answer_free(&mine);
        cs_digest_answer_free(&theirs);
    }
    return rc;
}
