/* replica.c - the handle's life, and the transactions that everything runs in. */
#include "sync/replica.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/watch.h"
#include "model/change.h"

int cs_peer_check(const char *name, csync_error *err)
{
    if (*name && strlen(name) <= CS_PEER_MAX)
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EINVAL, "a client's or peer's name must have 1 to %d bytes",
                   CS_PEER_MAX);
}

int cs_replica_create(csync **out, cs_backend *backend, const char *origin, csync_error *err)
{
    csync *c = cs_calloc(1, sizeof *c);
    int rc;

    *out = NULL;
    if (!c || cs_lock_init(&c->lock) != CSYNC_OK) {
        cs_free(c);
        backend->ops->close(backend);
        return cs_fail_nomem(err);
    }
    c->backend = backend;
    backend->cancelled = &c->cancelled;
    c->pid = getpid();
    atomic_init(&c->references, 1);
    atomic_init(&c->wake, -1);
    rc = origin ? cs_origin_check(origin, err) : CSYNC_OK;
    if (rc == CSYNC_OK)
        rc = backend->ops->ready(backend, err);
    if (rc == CSYNC_OK)
        rc = backend->ops->init(backend, origin, err);
    if (rc != CSYNC_OK) {
        cs_replica_close(c);
        return rc;
    }
    *out = c;
    return CSYNC_OK;
}

static int check_usable(csync *c, csync_error *err)
{
    if (c->closed)
        return cs_fail(err, CSYNC_EMISUSE, "the replica is closed");
    return CSYNC_OK;
}

static int check_process(const csync *c, csync_error *err)
{
    if (c->pid == getpid())
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EMISUSE,
                   "the replica was opened before fork; open it again in the child process");
}

static void begin_run(csync *c)
{
    atomic_fetch_add(&c->running, 1);
}

static void end_run(csync *c)
{
    if (atomic_fetch_sub(&c->running, 1) == 1)
        atomic_store(&c->cancelled, 0);
}

int cs_replica_enter(csync *c, csync_error *err)
{
    int rc;

    cs_error_clear(err);
    if (!c)
        return cs_fail(err, CSYNC_EMISUSE, "the replica is NULL");
    rc = check_process(c, err); /* before the lock: a thread of the parent may have held it */
    if (rc != CSYNC_OK)
        return rc;
    if (cs_lock_enter(&c->lock) != CSYNC_OK)
        return cs_fail(err, CSYNC_EBUSY,
                       "the replica is in use: it was called from its own callback");
    rc = check_usable(c, err);
    if (rc != CSYNC_OK) {
        cs_lock_leave(&c->lock);
        return rc;
    }
    begin_run(c);
    return CSYNC_OK;
}

int cs_replica_leave(csync *c, int rc, csync_error *err)
{
    if (atomic_load(&c->unwatched))
        cs_signal_send(atomic_load(&c->wake));
    return cs_replica_leave_quietly(c, rc, err);
}

int cs_replica_leave_quietly(csync *c, int rc, csync_error *err)
{
    int close_now = atomic_load(&c->close_wanted) && !atomic_load(&c->driving);

    if (rc == CSYNC_EBUSY) /* cancelled while it waited for another writer */
        rc = cs_replica_cancelled(c, err) == CSYNC_OK ? rc : CSYNC_ECANCELED;
    end_run(c);
    cs_lock_leave(&c->lock);
    if (close_now)
        cs_replica_close(c);
    return rc;
}

int cs_replica_begin_wait(csync *c, csync_error *err)
{
    int rc = check_process(c, err);

    if (rc == CSYNC_OK)
        begin_run(c);
    return rc;
}

void cs_replica_end_wait(csync *c)
{
    end_run(c);
}

void cs_replica_begin_drive(csync *c)
{
    begin_run(c);
    cs_replica_retain(c);
    atomic_fetch_add(&c->driving, 1);
}

void cs_replica_end_drive(csync *c)
{
    end_run(c);
    if (atomic_fetch_sub(&c->driving, 1) == 1 && atomic_load(&c->close_wanted))
        cs_replica_close(c);
    cs_replica_release(c);
}

void cs_replica_close(csync *c)
{
    if (c->pid != getpid())
        return; /* connection and lock belong to the parent */
    if (atomic_load(&c->driving) || cs_lock_enter(&c->lock) != CSYNC_OK) {
        atomic_store(&c->close_wanted, 1);
        return;
    }
    atomic_store(&c->close_wanted, 0);
    if (!c->closed)
        c->backend->ops->close(c->backend);
    c->backend = NULL;
    c->closed = 1;
    cs_signal_send(atomic_load(&c->wake));
    cs_lock_leave(&c->lock);
    cs_replica_release(c);
}

void cs_replica_retain(csync *c)
{
    atomic_fetch_add(&c->references, 1);
}

void cs_replica_release(csync *c)
{
    if (c->pid != getpid() || atomic_fetch_sub(&c->references, 1) != 1)
        return;
    cs_signal_destroy(atomic_load(&c->wake));
    cs_lock_destroy(&c->lock);
    cs_free(c);
}

int cs_replica_cancelled(csync *c, csync_error *err)
{
    return atomic_load(&c->cancelled) ? cs_fail(err, CSYNC_ECANCELED, "cancelled") : CSYNC_OK;
}

/* ---- transactions ---- */

static int check_free(csync *c, csync_error *err)
{
    if (c->suppressing)
        return cs_fail(err, CSYNC_EBUSY, "a suppressed transaction is open; end it first");
    return c->backend->ops->ready(c->backend, err);
}

static int run_write(csync *c, cs_work work, void *ctx, int check, csync_error *err)
{
    cs_backend *b = c->backend;
    int64_t repaired = 0;
    int rc = check_free(c, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = b->ops->begin(b, 1, err);
    if (rc == CSYNC_OK && check)
        rc = b->ops->check_schema(b, &repaired, err);
    if (rc == CSYNC_OK)
        rc = work(c, ctx, err);
    if (rc == CSYNC_OK)
        rc = cs_replica_cancelled(c, err);
    if (rc == CSYNC_OK)
        rc = b->ops->commit(b, err);
    if (rc == CSYNC_OK)
        c->repaired += repaired;
    else
        b->ops->rollback(b);
    return rc;
}

int cs_replica_write(csync *c, cs_work work, void *ctx, csync_error *err)
{
    return run_write(c, work, ctx, 1, err);
}

int cs_replica_write_unchecked(csync *c, cs_work work, void *ctx, csync_error *err)
{
    return run_write(c, work, ctx, 0, err);
}

/* Local writes become heads, and may let in what was parked. */
static int fold(csync *c, void *ctx, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc = b->ops->suppress(b, 1, err);

    (void)ctx;
    if (rc == CSYNC_OK)
        rc = b->ops->fold(b, err);
    if (rc == CSYNC_OK)
        rc = b->ops->retry_parked(b, err);
    return rc == CSYNC_OK ? b->ops->suppress(b, 0, err) : rc;
}

/* What repairs of the schema and the first fold themselves log is seen by the second. */
#define ENOUGH_FOLDS 2

int cs_replica_look(csync *c, cs_work work, void *ctx, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc = check_free(c, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = b->ops->begin(b, 0, err);
    if (rc == CSYNC_OK)
        rc = work(c, ctx, err);
    if (rc == CSYNC_OK)
        rc = b->ops->commit(b, err);
    if (rc != CSYNC_OK)
        b->ops->rollback(b);
    return rc;
}

typedef struct reading {
    cs_work work;
    void *ctx;
    int has_folded;
    int ready; /* 0: a write transaction has to bring tables or heads up to date first */
} reading;

static int read_if_ready(csync *c, void *ctx, csync_error *err)
{
    reading *r = ctx;
    cs_backend *b = c->backend;
    int changed = 0, stale = 0;
    int rc = b->ops->schema_changed(b, &changed, err);

    if (rc == CSYNC_OK && !changed)
        rc = b->ops->needs_fold(b, r->has_folded, &stale, err);
    r->ready = rc == CSYNC_OK && !changed && !stale;
    return r->ready ? r->work(c, r->ctx, err) : rc;
}

int cs_replica_read(csync *c, cs_work work, void *ctx, csync_error *err)
{
    reading r = {.work = work, .ctx = ctx};
    int rc = CSYNC_OK;

    for (int tries = 0; rc == CSYNC_OK && !r.ready; tries++) {
        r.has_folded = tries >= ENOUGH_FOLDS;
        rc = cs_replica_look(c, read_if_ready, &r, err);
        if (rc == CSYNC_OK && !r.ready)
            rc = cs_replica_write(c, fold, NULL, err);
    }
    return rc;
}

int cs_replica_has_news(csync *c, int64_t since, int *has, csync_error *err)
{
    int rc = check_free(c, err);

    *has = 0;
    return rc == CSYNC_OK ? c->backend->ops->has_news(c->backend, since, has, err) : rc;
}
