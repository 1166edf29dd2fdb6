/* subscription.c - who watches the log, and what a watcher needs to know of the database. */
#include "backend/sqlite/sqlite.h"

/* Without a name the database is in memory, or a temporary one that nobody else can open. */
void sq_signs(cs_backend *base, cs_signs *out)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    const char *path = sqlite3_db_filename(b->db, "main");

    out->files[0] = path && *path ? path : NULL;
    out->files[1] = out->files[0] ? sqlite3_filename_wal(path) : NULL;
    out->poll_ms = 0;
}

/* Looking costs hardly more than asking would. */
int sq_has_news(cs_backend *base, int64_t since, int *has, csync_error *err)
{
    (void)base;
    (void)since;
    (void)err;
    *has = 1;
    return CSYNC_OK;
}

static const char *table_of(const cs_subscription *s)
{
    return s->table ? s->table : "*";
}

int sq_subscription_get(cs_backend *base, const cs_subscription *wanted, int *found,
                        int64_t *version, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_SUBSCRIPTION_GET, &stmt, err);

    *found = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, wanted->id);
    sq_bind_text(b, stmt, 2, table_of(wanted));
    sq_bind_text(b, stmt, 3, wanted->pk);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        *found = 1;
        *version = sqlite3_column_int64(stmt, 0);
        rc = sqlite3_column_int(stmt, 1)
                 ? CSYNC_OK
                 : cs_fail(err, CSYNC_EINVAL,
                           "subscription \"%s\" is there already, to another table or row",
                           wanted->id);
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_subscription_put(cs_backend *base, const cs_subscription *s, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    char expires[40];
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_SUBSCRIPTION_PUT, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_snprintf(sizeof expires, expires, "+%lld.%03lld seconds",
                     (long long)(s->expires_ms / 1000), (long long)(s->expires_ms % 1000));
    sq_bind_text(b, stmt, 1, s->id);
    sq_bind_text(b, stmt, 2, base->origin);
    sq_bind_text(b, stmt, 3, s->pk ? "record" : "table");
    sq_bind_text(b, stmt, 4, table_of(s));
    sq_bind_text(b, stmt, 5, s->pk);
    sq_bind_text(b, stmt, 6, expires);
    sqlite3_bind_int64(stmt, 7, s->version);
    return sq_run(b, stmt, err);
}

int sq_subscription_drop(cs_backend *base, const char *id, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_SUBSCRIPTION_DROP, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, id);
    return sq_run(b, stmt, err);
}

int sq_subscriptions_expire(cs_backend *base, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_SUBSCRIPTIONS_EXPIRE, &stmt, err);

    return rc == CSYNC_OK ? sq_run(b, stmt, err) : rc;
}
