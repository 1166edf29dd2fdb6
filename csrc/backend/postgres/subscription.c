/* subscription.c - who watches the log, and how they learn of commits.
 *
 * Nobody is notified: a NOTIFY makes all commits of the cluster queue for one lock, in the users' transactions too. */
#include "backend/postgres/postgres.h"

#define POLL_MS 250

void pg_signs(cs_backend *base, cs_signs *out)
{
    (void)base;
    *out = (cs_signs){{NULL, NULL}, POLL_MS};
}

/* The sequence costs far less than the horizon, which looks through all locks. */
int pg_has_news(cs_backend *base, int64_t since, int *has, csync_error *err)
{
    int64_t last = 0;
    int rc = pg_last_version((cs_pg *)base, &last, err);

    *has = last > since;
    return rc;
}

static const char *table_of(const cs_subscription *s)
{
    return s->table ? s->table : "*";
}

int pg_subscription_get(cs_backend *base, const cs_subscription *wanted, int *found,
                        int64_t *version, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    pg_text(&a, wanted->id);
    pg_text(&a, table_of(wanted));
    pg_text(&a, wanted->pk);
    rc = pg_run(b,
                "SELECT version,(table_name=$2::text AND filter IS NOT DISTINCT FROM $3::text)::int "
                "FROM csync._sync_subscriptions WHERE subscription_id=$1",
                &a, &r, err);
    *found = rc == CSYNC_OK && pg_rows(b, r) > 0;
    if (*found) {
        *version = pg_cell_int(b, r, 0, 0);
        rc = pg_cell_int(b, r, 0, 1)
                 ? CSYNC_OK
                 : cs_fail(err, CSYNC_EINVAL,
                           "subscription \"%s\" is there already, to another table or row",
                           wanted->id);
    }
    pg_clear(b, r);
    return rc;
}

int pg_subscription_put(cs_backend *base, const cs_subscription *s, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_text(&a, s->id);
    pg_text(&a, base->origin);
    pg_text(&a, s->pk ? "record" : "table");
    pg_text(&a, table_of(s));
    pg_text(&a, s->pk);
    pg_int(&a, s->expires_ms);
    pg_int(&a, s->version);
    return pg_run((cs_pg *)base,
                  "INSERT INTO csync._sync_subscriptions(subscription_id,origin_id,subscription_type,"
                  "table_name,filter,created_at,expires_at,version) SELECT $1,$2,$3,$4,$5,"
                  "csync._sync_time(n),csync._sync_time(n+$6::bigint),$7::bigint FROM "
                  "csync._sync_wall() n ON CONFLICT(subscription_id) DO UPDATE SET "
                  "expires_at=excluded.expires_at,version=excluded.version",
                  &a, NULL, err);
}

int pg_subscription_drop(cs_backend *base, const char *id, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_text(&a, id);
    return pg_run((cs_pg *)base, "DELETE FROM csync._sync_subscriptions WHERE subscription_id=$1",
                  &a, NULL, err);
}

int pg_subscriptions_expire(cs_backend *base, csync_error *err)
{
    return pg_exec((cs_pg *)base,
                   "DELETE FROM csync._sync_subscriptions WHERE "
                   "expires_at<csync._sync_time(csync._sync_wall())",
                   err);
}
