/* subscribe.c - being told of changes.
 *
 * A write to the database's files only says that it is time to look at the log. SQLite writes the file before
 * others can see the commit, and no event tells of that moment (in WAL mode it is a store into shared memory), so
 * after each event the log is looked at again and again, in intervals that double. A database without such files,
 * on a server, is asked again and again without an event, in intervals that grow with the time since the last
 * change. */
#include "sync/subscribe.h"

#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/uuid.h"
#include "base/watch.h"
#include "codec/canonical.h"
#include "codec/row.h"
#include "sync/apply.h"

#define FIRST_LOOK_MS 1
#define LAST_LOOK_MS 16384
/* How old the stored position may get while changes come without a pause. */
#define STORE_AFTER_MS 1000
/* Longer than all looks after an event together: storing it is an event too, and silence shall cost no writes. */
#define RENEW_AFTER_MS 60000
#define HOUR_MS INT64_C(3600000)
#define PAGE_ENTRIES 1000

struct csync_subscription {
    csync *replica;
    cs_watch watch;
    char id[CSYNC_ORIGIN_SIZE];
    char *table; /* NULL: all */
    char *pk; /* canonical; NULL: every row */
    int limit;
    int64_t expires_ms;
    int is_kept; /* the id is the caller's, so its position is stored */
    atomic_int references; /* the owner's, and that of the call that runs */
    atomic_int in_use, closed, woken;
    _Atomic int64_t version; /* given out up to here */
    int64_t handled; /* the caller is done with what came up to here */
    int64_t stored, stored_at; /* the version in the database, and when it was written */
    int owes; /* the caller has handled changes since, and `handled` is to be stored */
    int has_given; /* the last call gave changes */
    int has_more; /* the log goes on after `version` */
    int look_ms; /* the interval before the next look; 0: after the next event */
    int poll_ms; /* the longest interval where no event tells; 0: one tells */
};

/* ---- creating ---- */

static int check_options(const csync_subscribe_options *o, csync_error *err)
{
    if (o->pk && !o->table)
        return cs_fail(err, CSYNC_EINVAL, "a pk needs the table that it is of");
    if (o->since < 0 || (o->since && !o->resume))
        return cs_fail(err, CSYNC_EINVAL, "since must not be negative, and needs resume");
    if (o->limit < 0 || o->limit > 10000)
        return cs_fail(err, CSYNC_EINVAL, "limit is %d; it must be 1 to 10000", o->limit);
    if (o->expires_ms < 0 || o->expires_ms > 100 * 366 * 24 * HOUR_MS)
        return cs_fail(err, CSYNC_EINVAL, "expires_ms is negative, or more than a hundred years");
    if (o->id && (!*o->id || strlen(o->id) >= CSYNC_ORIGIN_SIZE))
        return cs_fail(err, CSYNC_EINVAL, "a subscription's id must have 1 to 64 bytes");
    return CSYNC_OK;
}

static int check_key(const cs_table *t, const char *pk, csync_error *err)
{
    cs_row row = {0};
    const char *name;
    size_t len, members = 0;
    cs_value value;
    int rc = cs_row_check(pk, strlen(pk), 1, err);

    if (rc == CSYNC_OK)
        rc = cs_row_open(&row, pk, strlen(pk), err);
    while (rc == CSYNC_OK && (rc = cs_row_next(&row, &name, &len, &value, err)) == 1) {
        const cs_column *column = cs_table_column(t, name, len);

        members++;
        rc = column && column->key
                 ? CSYNC_OK
                 : cs_fail(err, CSYNC_EINVAL, "pk: \"%.*s\" is no key column of \"%s\"", (int)len,
                           name, t->name);
    }
    cs_row_close(&row);
    if (rc == CSYNC_OK && members != t->key_count)
        rc = cs_fail(err, CSYNC_EINVAL, "pk lacks a key column of table \"%s\"", t->name);
    return rc;
}

static int check_target(csync *c, const csync_subscribe_options *o, csync_error *err)
{
    const cs_table *t;

    if (!o->table)
        return CSYNC_OK;
    t = cs_backend_table(c->backend, o->table, strlen(o->table));
    if (!t)
        return cs_fail(err, CSYNC_ENOTFOUND, "table \"%s\" is not tracked", o->table);
    return o->pk ? check_key(t, o->pk, err) : CSYNC_OK;
}

static cs_subscription row_of(const csync_subscription *s)
{
    return (cs_subscription){s->id, s->table, s->pk, s->handled, s->expires_ms};
}

typedef struct opening {
    csync_subscription *s;
    const csync_subscribe_options *options;
} opening;

static int check_version(csync *c, int64_t version, int64_t top, csync_error *err)
{
    const cs_position position = cs_position_make(version, "");
    cs_verdict verdict = CS_GOOD;
    int rc = c->backend->ops->judge(c->backend, &position, &verdict, err);

    if (rc != CSYNC_OK || verdict == CS_GOOD || verdict == CS_TRIMMED)
        return rc;
    return cs_fail(err, CSYNC_EINVAL, "the log ends at version %lld; it has no %lld",
                   (long long)top, (long long)version);
}

/* Where it begins: after `since`, where the id was, or now. */
static int settle_version(csync *c, const opening *o, csync_error *err)
{
    const cs_subscription row = row_of(o->s);
    int64_t top = 0, version = 0;
    int found = 0;
    int rc = c->backend->ops->log_top(c->backend, &top, err);

    if (rc == CSYNC_OK)
        rc = c->backend->ops->subscription_get(c->backend, &row, &found, &version, err);
    if (rc != CSYNC_OK)
        return rc;
    if (o->options->resume)
        version = o->options->since;
    else if (!found)
        version = top;
    rc = check_version(c, version, top, err);
    if (rc != CSYNC_OK)
        return rc;
    atomic_store(&o->s->version, version);
    o->s->handled = o->s->stored = version;
    return CSYNC_OK;
}

static int register_row(csync *c, void *ctx, csync_error *err)
{
    opening *o = ctx;
    cs_backend *b = c->backend;
    cs_subscription row;
    int rc = check_target(c, o->options, err);

    if (rc == CSYNC_OK)
        rc = b->ops->start_relay(b, err);
    if (rc == CSYNC_OK)
        rc = b->ops->subscriptions_expire(b, err);
    if (rc == CSYNC_OK)
        rc = settle_version(c, o, err);
    if (rc != CSYNC_OK)
        return rc;
    row = row_of(o->s);
    return b->ops->subscription_put(b, &row, err);
}

/* The signal that all subscriptions of the replica share. */
static int make_signal(csync *c, csync_error *err)
{
    int signal = atomic_load(&c->wake);

    if (signal >= 0)
        return CSYNC_OK;
    signal = cs_signal_create(err);
    if (signal < 0)
        return CSYNC_ERROR;
    atomic_store(&c->wake, signal);
    return CSYNC_OK;
}

/* The first transaction has made the files that there will be. */
static int open_watch(csync_subscription *s, csync_error *err)
{
    csync *c = s->replica;
    cs_signs signs;
    int rc = make_signal(c, err);

    c->backend->ops->signs(c->backend, &signs);
    s->poll_ms = signs.poll_ms;
    if (rc == CSYNC_OK)
        rc = cs_watch_open(&s->watch, signs.files, atomic_load(&c->wake), err);
    if (rc == CSYNC_OK && s->watch.events < 0)
        atomic_store(&c->unwatched, 1);
    if (rc == CSYNC_OK)
        cs_watch_alarm(&s->watch, 0); /* what there is already */
    return rc;
}

static int copy_options(csync_subscription *s, const csync_subscribe_options *o, csync_error *err)
{
    cs_buf pk = {0};
    int rc = CSYNC_OK;

    s->limit = o->limit ? o->limit : 1000;
    s->is_kept = o->id != NULL;
    s->expires_ms = o->expires_ms ? o->expires_ms : s->is_kept ? 30 * 24 * HOUR_MS : HOUR_MS;
    if (o->id)
        cs_text_copy(s->id, sizeof s->id, o->id);
    else
        rc = cs_uuid4(s->id, err);
    if (rc == CSYNC_OK && o->table && !(s->table = cs_strdup(o->table)))
        rc = cs_fail_nomem(err);
    if (rc != CSYNC_OK || !o->pk)
        return rc;
    rc = cs_canonical_json(&pk, o->pk, strlen(o->pk), err);
    if (rc == CSYNC_OK && !(s->pk = cs_buf_take(&pk, err)))
        rc = CSYNC_ENOMEM;
    cs_buf_free(&pk);
    return rc;
}

static void destroy(csync_subscription *s)
{
    cs_watch_close(&s->watch);
    cs_replica_release(s->replica);
    cs_free(s->table);
    cs_free(s->pk);
    cs_free(s);
}

int cs_subscription_create(csync_subscription **out, csync *c,
                           const csync_subscribe_options *options, csync_error *err)
{
    csync_subscription *s;
    opening o = {NULL, options};
    int rc = check_options(options, err);

    if (rc != CSYNC_OK)
        return rc;
    s = o.s = cs_calloc(1, sizeof *s);
    if (!s)
        return cs_fail_nomem(err);
    s->watch = (cs_watch)CS_WATCH_NONE;
    atomic_init(&s->references, 1);
    s->replica = c;
    cs_replica_retain(c);
    s->stored_at = cs_monotonic_ms();
    rc = copy_options(s, options, err);
    if (rc == CSYNC_OK)
        rc = open_watch(s, err);
    if (rc == CSYNC_OK)
        rc = cs_replica_write(c, register_row, &o, err);
    if (rc == CSYNC_OK)
        *out = s;
    else
        destroy(s);
    return rc;
}

static int drop_id(csync *c, void *ctx, csync_error *err)
{
    return c->backend->ops->subscription_drop(c->backend, ctx, err);
}

int cs_subscription_forget(csync *c, const char *id, csync_error *err)
{
    char copy[CSYNC_ORIGIN_SIZE];

    if (!*id || strlen(id) >= sizeof copy)
        return cs_fail(err, CSYNC_EINVAL, "a subscription's id must have 1 to 64 bytes");
    cs_text_copy(copy, sizeof copy, id);
    return cs_replica_write_unchecked(c, drop_id, copy, err);
}

/* ---- looking at the log ---- */

typedef struct looking {
    csync_subscription *s;
    csync_batch *batch;
} looking;

static int check_floor(csync *c, int64_t version, csync_error *err)
{
    cs_floors floors;
    int rc = c->backend->ops->floors(c->backend, &floors, err);

    if (rc != CSYNC_OK || version >= floors.log)
        return rc;
    if (cs_error_writable(err))
        err->version = floors.log;
    return cs_fail(err, CSYNC_EFULLRESYNC,
                   "the log begins after version %lld, the subscription stands at %lld",
                   (long long)floors.log, (long long)version);
}

static int read_log(csync *c, void *ctx, csync_error *err)
{
    looking *l = ctx;
    csync_sync_options limits = {.batch_size = l->s->table ? PAGE_ENTRIES : l->s->limit};
    cs_page_request request = {.since = atomic_load(&l->s->version),
                               .limit = cs_batch_size(&limits),
                               .max_bytes = (size_t)cs_batch_bytes(&limits)};
    int rc = check_floor(c, request.since, err);

    cs_batch_destroy(l->batch);
    l->batch = cs_batch_create();
    if (!l->batch)
        return cs_fail_nomem(err);
    return rc == CSYNC_OK ? c->backend->ops->page(c->backend, &request, l->batch, err) : rc;
}

static int is_wanted(const csync_subscription *s, const cs_change *change, csync_error *err)
{
    int order = 0, rc = CSYNC_OK;

    if (s->table && strcmp(change->pub.table, s->table) != 0)
        return 0;
    if (s->pk)
        rc = cs_canonical_order(s->pk, strlen(s->pk), change->pub.pk, change->pk_len, &order, err);
    return rc == CSYNC_OK ? order == 0 : rc;
}

/* Leaves what was subscribed to, at most `limit` changes. */
static int filter(const csync_subscription *s, csync_batch *batch, csync_error *err)
{
    size_t kept = 0;

    for (size_t i = 0; i < batch->count; i++) {
        int wanted = is_wanted(s, &batch->items[i], err);

        if (wanted < 0)
            return wanted;
        if (!wanted)
            continue;
        if (kept == (size_t)s->limit) {
            batch->to_version = batch->items[kept - 1].pub.version;
            batch->has_more = 1;
            break;
        }
        batch->items[kept++] = batch->items[i];
    }
    batch->count = kept;
    return CSYNC_OK;
}

/* One page of the log, in a call of its own; none if there is nothing new. */
static int read_page(looking *l, csync_error *err)
{
    csync *c = l->s->replica;
    int has_news = 0;
    int rc = cs_replica_enter(c, err);

    if (rc != CSYNC_OK)
        return rc;
    c->backend->impatient = 1;
    rc = cs_replica_has_news(c, atomic_load(&l->s->version), &has_news, err);
    if (rc == CSYNC_OK && has_news)
        rc = cs_replica_read(c, read_log, l, err);
    c->backend->impatient = 0;
    if (rc == CSYNC_OK && l->batch)
        rc = cs_batch_text(l->batch, c->backend->origin, &l->batch->origin, err);
    return cs_replica_leave_quietly(c, rc, err);
}

/* *out NULL: nothing new in this page. CSYNC_EBUSY: another writer is at work. */
static int look(csync_subscription *s, csync_batch **out, csync_error *err)
{
    looking l = {s, NULL};
    int rc = read_page(&l, err);

    if (rc == CSYNC_OK && l.batch)
        rc = filter(s, l.batch, err);
    if (rc == CSYNC_OK && l.batch) {
        atomic_store(&s->version, l.batch->to_version);
        s->has_more = l.batch->has_more;
        if (l.batch->count) {
            *out = l.batch;
            l.batch = NULL;
            s->has_given = 1;
        }
    }
    cs_batch_destroy(l.batch);
    return rc;
}

/* ---- the stored position ---- */

static int put_row(csync *c, void *ctx, csync_error *err)
{
    const cs_subscription row = row_of(ctx);

    return c->backend->ops->subscription_put(c->backend, &row, err);
}

static int drop_row(csync *c, void *ctx, csync_error *err)
{
    csync_subscription *s = ctx;

    return drop_id(c, s->id, err);
}

static int write_row(csync_subscription *s, cs_work work, int waits, csync_error *err)
{
    csync *c = s->replica;
    int rc = cs_replica_enter(c, err);

    if (rc != CSYNC_OK)
        return rc;
    c->backend->impatient = !waits;
    rc = cs_replica_write_unchecked(c, work, s, err);
    c->backend->impatient = 0;
    return cs_replica_leave_quietly(c, rc, err);
}

/* A busy database is left for the next time. */
static int store(csync_subscription *s, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    int rc = write_row(s, put_row, 0, &why);

    if (rc == CSYNC_EBUSY)
        return CSYNC_OK;
    if (rc == CSYNC_OK) {
        s->stored = s->handled;
        s->owes = 0;
        s->stored_at = cs_monotonic_ms();
    } else {
        cs_error_copy(err, &why);
    }
    return rc;
}

static int store_if_old(csync_subscription *s, csync_error *err)
{
    int64_t age = cs_monotonic_ms() - s->stored_at;

    return age >= (s->owes ? STORE_AFTER_MS : RENEW_AFTER_MS) ? store(s, err) : CSYNC_OK;
}

static int store_if_owed(csync_subscription *s, csync_error *err)
{
    return s->owes ? store(s, err) : CSYNC_OK;
}

/* The last one out settles the row. Where that cannot be done it stays as it is until it expires. */
static void release(csync_subscription *s)
{
    if (atomic_fetch_sub(&s->references, 1) != 1)
        return;
    if (!s->is_kept)
        (void)write_row(s, drop_row, 1, NULL);
    else if (s->handled > s->stored)
        (void)write_row(s, put_row, 1, NULL);
    destroy(s);
}

/* ---- waiting ---- */

static int check_open(csync_subscription *s, csync_error *err)
{
    if (atomic_load(&s->closed))
        return cs_fail(err, CSYNC_EMISUSE, "the subscription is closed");
    return cs_replica_cancelled(s->replica, err);
}

/* Looks until there is something or the log's end. `is_waiting`: a transaction that another thread, or the
 * application, has open is no failure, it ends some time. */
static int look_on(csync_subscription *s, int is_waiting, csync_batch **out, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    int rc;

    do {
        rc = check_open(s, &why);
        if (rc == CSYNC_OK)
            rc = look(s, out, &why);
    } while (rc == CSYNC_OK && !*out && s->has_more);
    if (rc == CSYNC_EBUSY && (why.native_code || is_waiting)) {
        s->look_ms = s->look_ms ? s->look_ms : FIRST_LOOK_MS;
        s->has_more = 0;
        return CSYNC_OK;
    }
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    return rc;
}

/* When to look again without another event. */
static void set_alarm(csync_subscription *s, int happened, int rc)
{
    if (rc != CSYNC_OK || s->has_more)
        cs_watch_alarm(&s->watch, 0);
    else if (s->look_ms && happened)
        cs_watch_alarm(&s->watch, s->look_ms);
}

static int next_interval(const csync_subscription *s)
{
    int longer = s->look_ms + s->look_ms / 8 + 1;

    if (s->poll_ms)
        return longer < s->poll_ms ? longer : s->poll_ms;
    return s->look_ms < LAST_LOOK_MS ? s->look_ms * 2 : 0;
}

/* Takes note of what has happened, and looks. */
static int attend(csync_subscription *s, int is_waiting, csync_batch **out, csync_error *err)
{
    int is_alarm_for_more = s->has_more;
    int happened = cs_watch_clear(&s->watch);
    int before = s->look_ms;
    int rc;

    if (happened & CS_WATCH_WRITTEN)
        s->look_ms = FIRST_LOOK_MS;
    else if (happened & CS_WATCH_ALARM && !is_alarm_for_more)
        s->look_ms = next_interval(s);
    rc = look_on(s, is_waiting, out, err);
    if (s->poll_ms && *out)
        s->look_ms = FIRST_LOOK_MS;
    set_alarm(s, happened & (CS_WATCH_WRITTEN | CS_WATCH_ALARM) || s->look_ms != before, rc);
    return rc;
}

static int remaining(int64_t until)
{
    int64_t left = until - cs_monotonic_ms();

    return until < 0 ? -1 : left > 0 ? (int)left : 0;
}

static int wait_for_next(csync_subscription *s, int timeout_ms, csync_batch **out, csync_error *err)
{
    int64_t until = timeout_ms < 0 ? -1 : cs_monotonic_ms() + timeout_ms;
    int is_waiting = 0;
    int rc = store_if_old(s, err);

    while (rc == CSYNC_OK) {
        rc = attend(s, is_waiting, out, err);
        if (rc == CSYNC_OK && !*out)
            rc = store_if_owed(s, err);
        if (rc != CSYNC_OK || *out || atomic_exchange(&s->woken, 0) ||
            cs_watch_wait(&s->watch, remaining(until)) != 1)
            break;
        is_waiting = 1;
    }
    return rc;
}

int cs_subscription_next(csync_subscription *s, int timeout_ms, csync_batch **out, csync_error *err)
{
    int rc = cs_replica_begin_wait(s->replica, err);

    if (rc != CSYNC_OK)
        return rc;
    if (atomic_exchange(&s->in_use, 1)) {
        cs_replica_end_wait(s->replica);
        return cs_fail(err, CSYNC_EBUSY, "another thread waits on the subscription");
    }
    atomic_fetch_add(&s->references, 1);
    s->handled = atomic_load(&s->version);
    s->owes |= s->is_kept && s->has_given;
    s->has_given = 0;
    rc = wait_for_next(s, timeout_ms, out, err);
    cs_replica_end_wait(s->replica);
    atomic_store(&s->in_use, 0);
    release(s);
    return rc;
}

/* ---- the rest ---- */

int cs_subscription_fd(const csync_subscription *s)
{
    return s->watch.fd;
}

void cs_subscription_wake(csync_subscription *s)
{
    atomic_store(&s->woken, 1);
    cs_signal_send(atomic_load(&s->replica->wake));
}

const char *cs_subscription_id(const csync_subscription *s)
{
    return s->id;
}

int64_t cs_subscription_version(const csync_subscription *s)
{
    return atomic_load(&s->version);
}

void cs_subscription_close(csync_subscription *s)
{
    if (!s)
        return;
    atomic_store(&s->closed, 1);
    cs_signal_send(atomic_load(&s->replica->wake));
    release(s);
}
