/* api.c - the public entry points on replicas: check arguments, enter the handle, call down. */
#include <string.h>

#include "base/mem.h"
#include "base/options.h"
#include "base/text.h"
#include "base/watch.h"
#include "model/outcome.h"
#include "sync/apply.h"
#include "sync/conflict.h"
#include "sync/hash.h"
#include "sync/page.h"
#include "sync/replica.h"
#include "sync/report.h"

#define MISUSE_IF_NULL(p, err)                                                                     \
    do {                                                                                           \
        if (!(p))                                                                                  \
            return cs_fail(err, CSYNC_EMISUSE, #p " is NULL");                                     \
    } while (0)

/* ---- open and close ---- */

int csync_bind_sqlite(void *dl_handle, csync_error *err)
{
    cs_error_clear(err);
    return cs_sqlite_bind(dl_handle, err);
}

static int finish_open(csync **out, int rc, cs_backend *backend, const csync_open_options *options,
                       csync_error *err)
{
    return rc == CSYNC_OK ? cs_replica_create(out, backend, options->origin, err) : rc;
}

/* `database` is what is opened, under the name of its parameter. */
static int begin_open(csync **out, const void *database, const char *name,
                      const csync_open_options *options, csync_open_options *own, csync_error *err)
{
    cs_error_clear(err);
    MISUSE_IF_NULL(out, err);
    *out = NULL;
    if (!database)
        return cs_fail(err, CSYNC_EMISUSE, "%s is NULL", name);
    return CS_OPTIONS_IN(own, options, err);
}

int csync_open(csync **out, const char *url, const csync_open_options *options, csync_error *err)
{
    csync_open_options o;
    cs_backend *backend = NULL;
    int rc = begin_open(out, url, "url", options, &o, err);

    if (rc != CSYNC_OK)
        return rc;
    if (!*url)
        return cs_fail(err, CSYNC_EINVAL, "the database's path is empty");
    if (strncmp(url, "postgresql:", 11) == 0 || strncmp(url, "postgres://", 11) == 0)
        rc = cs_postgres_open(&backend, url, &o, err);
    else
        rc = cs_sqlite_open(&backend, url, &o, err);
    return finish_open(out, rc, backend, &o, err);
}

int csync_open_sqlite(csync **out, void *db, const void *api, const csync_open_options *options,
                      csync_error *err)
{
    csync_open_options o;
    cs_backend *backend = NULL;
    int rc = begin_open(out, db, "db", options, &o, err);

    if (rc == CSYNC_OK)
        rc = cs_sqlite_attach(&backend, db, api, &o, err);
    return finish_open(out, rc, backend, &o, err);
}

int csync_open_postgres(csync **out, void *conn, void *library, const csync_open_options *options,
                        csync_error *err)
{
    csync_open_options o;
    cs_backend *backend = NULL;
    int rc = begin_open(out, conn, "conn", options, &o, err);

    if (rc == CSYNC_OK)
        rc = cs_postgres_attach(&backend, conn, library, &o, err);
    return finish_open(out, rc, backend, &o, err);
}

void csync_close(csync *replica)
{
    if (replica)
        cs_replica_close(replica);
}

void csync_cancel(csync *replica)
{
    if (!replica || !atomic_load(&replica->running))
        return;
    atomic_store(&replica->cancelled, 1);
    cs_signal_send(atomic_load(&replica->wake));
    if (replica->backend)
        replica->backend->ops->interrupt(replica->backend);
}

static int read_state(csync *c, void *ctx, csync_error *err)
{
    return c->backend->ops->state(c->backend, ctx, err);
}

int csync_get_state(csync *replica, csync_state *out, csync_error *err)
{
    csync_state state = {.struct_size = sizeof state};
    int rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = CS_STRUCT_CHECK(out, err);
    if (rc == CSYNC_OK)
        rc = cs_replica_read(replica, read_state, &state, err);
    if (rc == CSYNC_OK)
        CS_STRUCT_OUT(out, &state);
    return cs_replica_leave(replica, rc, err);
}

/* ---- tables ---- */

typedef struct track_args {
    const char *table;
    int capture;
} track_args;

static int track(csync *c, void *ctx, csync_error *err)
{
    track_args *a = ctx;

    return c->backend->ops->track(c->backend, a->table, a->capture, err);
}

static int check_capture(int capture, csync_error *err)
{
    if (capture == 0 || capture == CSYNC_CAPTURE_FULL || capture == CSYNC_CAPTURE_KEYS)
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EINVAL, "%d is no way to capture", capture);
}

static void name_table(int rc, const char *table, csync_error *err)
{
    if (rc != CSYNC_OK && cs_error_writable(err) && table)
        cs_text_copy(err->table, sizeof err->table, table);
}

int csync_track(csync *replica, const char *table, const csync_track_options *options,
                csync_error *err)
{
    csync_track_options o;
    track_args args = {table, 0};
    int rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = table ? CS_OPTIONS_IN(&o, options, err) : cs_fail(err, CSYNC_EMISUSE, "table is NULL");
    if (rc == CSYNC_OK)
        rc = check_capture(o.capture, err);
    if (rc == CSYNC_OK) {
        args.capture = o.capture;
        rc = cs_replica_write(replica, track, &args, err);
        name_table(rc, table, err);
    }
    return cs_replica_leave(replica, rc, err);
}

static int untrack(csync *c, void *ctx, csync_error *err)
{
    return c->backend->ops->untrack(c->backend, ctx, err);
}

int csync_untrack(csync *replica, const char *table, csync_error *err)
{
    int rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = table ? cs_replica_write_unchecked(replica, untrack, (void *)table, err)
               : cs_fail(err, CSYNC_EMISUSE, "table is NULL");
    name_table(rc, table, err);
    return cs_replica_leave(replica, rc, err);
}

typedef struct trigger_args {
    const char *table;
    int capture;
    cs_buf sql;
} trigger_args;

static int trigger_sql(csync *c, void *ctx, csync_error *err)
{
    trigger_args *a = ctx;

    cs_buf_clear(&a->sql);
    return c->backend->ops->trigger_sql(c->backend, a->table, a->capture, &a->sql, err);
}

int csync_trigger_sql(csync *replica, const char *table, int capture, char **sql, csync_error *err)
{
    trigger_args args = {table, capture, {0}};
    int rc;

    if (sql)
        *sql = NULL;
    rc = cs_replica_enter(replica, err);
    if (rc != CSYNC_OK)
        return rc;
    if (!table || !sql)
        rc = cs_fail(err, CSYNC_EMISUSE, "table or sql is NULL");
    if (rc == CSYNC_OK)
        rc = check_capture(capture, err);
    if (rc == CSYNC_OK)
        rc = cs_replica_read(replica, trigger_sql, &args, err);
    name_table(rc, table, err);
    if (rc == CSYNC_OK) {
        *sql = cs_buf_take(&args.sql, err);
        rc = *sql ? CSYNC_OK : CSYNC_ENOMEM;
    }
    cs_buf_free(&args.sql);
    return cs_replica_leave(replica, rc, err);
}

/* ---- reports ---- */

typedef int (*report)(csync *c, char **json, csync_error *err);

static int give_report(csync *replica, report make, char **json, csync_error *err)
{
    int rc;

    if (json)
        *json = NULL;
    rc = cs_replica_enter(replica, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = json ? make(replica, json, err) : cs_fail(err, CSYNC_EMISUSE, "json is NULL");
    return cs_replica_leave(replica, rc, err);
}

int csync_tables(csync *replica, char **json, csync_error *err)
{
    return give_report(replica, cs_report_tables, json, err);
}

int csync_parked(csync *replica, char **json, csync_error *err)
{
    return give_report(replica, cs_report_parked, json, err);
}

int csync_lag(csync *replica, char **json, csync_error *err)
{
    return give_report(replica, cs_report_lag, json, err);
}

int csync_doctor(csync *replica, char **json, csync_error *err)
{
    return give_report(replica, cs_report_doctor, json, err);
}

int csync_conflicts(csync *replica, int64_t since_id, int limit, char **json, csync_error *err)
{
    int rc;

    if (json)
        *json = NULL;
    rc = cs_replica_enter(replica, err);
    if (rc != CSYNC_OK)
        return rc;
    if (!json)
        rc = cs_fail(err, CSYNC_EMISUSE, "json is NULL");
    else if (limit < 0 || since_id < 0)
        rc = cs_fail(err, CSYNC_EINVAL, "since_id and limit must not be negative");
    if (rc == CSYNC_OK)
        rc = cs_report_conflicts(replica, since_id, limit ? limit : 1000, json, err);
    return cs_replica_leave(replica, rc, err);
}

int csync_hash(csync *replica, char hex[CSYNC_HASH_SIZE], csync_error *err)
{
    int rc;

    if (hex)
        hex[0] = 0;
    rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = hex ? cs_database_hash(replica, hex, err) : cs_fail(err, CSYNC_EMISUSE, "hex is NULL");
    return cs_replica_leave(replica, rc, err);
}

/* ---- changes ---- */

static int check_fetch(csync *c, const csync_fetch *fetch, csync_error *err)
{
    int rc;

    if (fetch->since < 0)
        return cs_fail(err, CSYNC_EINVAL, "since is negative");
    if (fetch->limit < 0 || fetch->limit > 10000)
        return cs_fail(err, CSYNC_EINVAL, "limit is %d; it must be 1 to 10000", fetch->limit);
    if (fetch->max_bytes < 0)
        return cs_fail(err, CSYNC_EINVAL, "max_bytes is negative");
    if (fetch->origin && strcmp(fetch->origin, c->backend->origin) == 0)
        return cs_fail(err, CSYNC_EINVAL, "a replica cannot ask itself for changes");
    rc = cs_scope_check(&(cs_scope){fetch->tables, fetch->table_count}, err);
    return rc == CSYNC_OK && fetch->origin ? cs_peer_check(fetch->origin, err) : rc;
}

int csync_changes(csync *replica, const csync_fetch *fetch, csync_batch **out, csync_error *err)
{
    csync_fetch f;
    int rc;

    if (out)
        *out = NULL;
    rc = cs_replica_enter(replica, err);
    if (rc != CSYNC_OK)
        return rc;
    if (!out)
        rc = cs_fail(err, CSYNC_EMISUSE, "out is NULL");
    if (rc == CSYNC_OK)
        rc = CS_OPTIONS_IN(&f, fetch, err);
    if (rc == CSYNC_OK)
        rc = check_fetch(replica, &f, err);
    if (rc == CSYNC_OK)
        rc = cs_page_serve(replica, &f, out, err);
    return cs_replica_leave(replica, rc, err);
}

/* The batch of a push names who sends it. */
static int apply_checked(csync *replica, const csync_batch *batch, const csync_sync_options *options,
                         csync_outcome **outcome, csync_result *result, csync_error *err)
{
    cs_apply a = {.batch = batch, .options = options, .outcome = outcome, .result = result};

    int rc = cs_sync_options_check(options, err);

    if (rc != CSYNC_OK)
        return rc;
    if (batch->origin && batch->has_info) {
        if (strcmp(batch->origin, replica->backend->origin) == 0)
            return cs_fail(err, CSYNC_EINVAL, "the batch comes from this very replica");
        a.peer = batch->origin;
    }
    return cs_apply_batch(replica, &a, err);
}

int csync_apply(csync *replica, const csync_batch *batch, const csync_sync_options *options,
                csync_outcome **outcome, csync_result *result, csync_error *err)
{
    csync_sync_options o;
    csync_result r = {.struct_size = sizeof r};
    int64_t repaired;
    int rc;

    if (outcome)
        *outcome = NULL;
    rc = cs_replica_enter(replica, err);
    if (rc != CSYNC_OK)
        return rc;
    repaired = replica->repaired;
    rc = batch ? CS_OPTIONS_IN(&o, options, err) : cs_fail(err, CSYNC_EMISUSE, "batch is NULL");
    if (rc == CSYNC_OK && result)
        rc = CS_STRUCT_CHECK(result, err);
    if (rc == CSYNC_OK)
        rc = apply_checked(replica, batch, &o, outcome, &r, err);
    r.repaired = replica->repaired - repaired;
    if (rc == CSYNC_OK && result)
        CS_STRUCT_OUT(result, &r);
    return cs_replica_leave(replica, rc, err);
}

static int lower_side(const csync_batch *pair, int strategy, int *decision, csync_error *err)
{
    const csync_change *local = cs_batch_get(pair, 0), *remote = cs_batch_get(pair, 1);
    int order = 0, same = 0;
    int rc = cs_change_same_row(local, remote, &same, err);

    if (rc == CSYNC_OK && !same)
        rc = cs_fail(err, CSYNC_EINVAL, "the changes concern different rows");
    if (rc == CSYNC_OK)
        rc = cs_change_compare(local, remote, &order, err);
    if (strategy == CSYNC_SERVER_WINS)
        order = -1;
    else if (strategy == CSYNC_CLIENT_WINS)
        order = 1;
    if (rc == CSYNC_OK)
        *decision = order < 0 ? CSYNC_TAKE_REMOTE : CSYNC_KEEP_LOCAL;
    return rc;
}

/* Through a batch, which checks both changes and puts them into one form. */
int csync_resolve(const csync_change *local, const csync_change *remote, int strategy,
                  int *decision, csync_error *err)
{
    csync_batch *pair = NULL;
    int rc;

    cs_error_clear(err);
    if (decision)
        *decision = 0;
    if (!local || !remote || !decision)
        return cs_fail(err, CSYNC_EMISUSE, "a change or decision is NULL");
    if (strategy < CSYNC_LAST_WRITE_WINS || strategy >= CSYNC_CUSTOM)
        return cs_fail(err, CSYNC_EINVAL, "strategy %d cannot be resolved without a callback",
                       strategy);
    rc = csync_batch_new(&pair, err);
    if (rc == CSYNC_OK)
        rc = csync_batch_add(pair, local, err);
    if (rc == CSYNC_OK)
        rc = csync_batch_add(pair, remote, err);
    if (rc == CSYNC_OK)
        rc = lower_side(pair, strategy, decision, err);
    csync_batch_free(pair);
    return rc;
}
