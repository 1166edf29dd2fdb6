/* schema.c - csync's own tables and functions, in the schema csync; and init. */
#include <string.h>

#include "backend/postgres/postgres.h"

/* In _sync_log origin NULL is this replica, and seq NULL is the version. The index serves the look-up that finds
 * an edit which a local writer made while a change was applied. */
static const char tables_sql[] =
    "CREATE SCHEMA IF NOT EXISTS csync;"
    "CREATE TABLE csync._sync_log(version bigserial PRIMARY KEY, table_name text NOT NULL,"
    " pk_value text COLLATE \"C\" NOT NULL, operation text NOT NULL, payload text, origin text,"
    " timestamp text NOT NULL, seq bigint, ts bigint NOT NULL);"
    "CREATE INDEX ON csync._sync_log(pk_value, table_name, version) WHERE origin IS NULL;"
    "CREATE TABLE csync._sync_state(key text PRIMARY KEY, value text NOT NULL);"
    "CREATE TABLE csync._sync_session(id int PRIMARY KEY, clock bigint NOT NULL);"
    "CREATE TABLE csync._sync_clients(origin_id text COLLATE \"C\" PRIMARY KEY,"
    " last_sync_version bigint NOT NULL, last_sync_timestamp text NOT NULL, created_at text NOT NULL,"
    " pushed_to int NOT NULL);"
    "CREATE TABLE csync._sync_tables(id bigserial PRIMARY KEY, name text COLLATE \"C\" NOT NULL UNIQUE,"
    " capture int NOT NULL, fingerprint text NOT NULL);"
    "CREATE TABLE csync._sync_rows(table_id bigint NOT NULL, pk text COLLATE \"C\" NOT NULL,"
    " version bigint NOT NULL, ts bigint NOT NULL, origin text COLLATE \"C\" NOT NULL,"
    " seq bigint NOT NULL, state int NOT NULL, via bigint NOT NULL, parked bigint NOT NULL DEFAULT 0,"
    " base_version bigint NOT NULL DEFAULT 0, base_ts bigint NOT NULL DEFAULT 0, base_origin text,"
    " base_seq bigint NOT NULL DEFAULT 0, seen bigint NOT NULL DEFAULT 0, PRIMARY KEY(table_id, pk));"
    "CREATE TABLE csync._sync_peers(id bigserial PRIMARY KEY, peer text NOT NULL UNIQUE,"
    " pulled bigint NOT NULL, pulled_epoch text NOT NULL, pushed bigint NOT NULL,"
    " pushed_epoch text NOT NULL, heard bigint NOT NULL, asked int NOT NULL,"
    " unheard int NOT NULL, heard_ts bigint NOT NULL, last_seen text NOT NULL);"
    "CREATE TABLE csync._sync_heard(origin text COLLATE \"C\" PRIMARY KEY, version bigint NOT NULL,"
    " ts bigint NOT NULL);"
    "CREATE TABLE csync._sync_replies(peer bigint PRIMARY KEY, idempotency_key text NOT NULL,"
    " reply text NOT NULL);"
    "CREATE TABLE csync._sync_snapshots(peer bigint PRIMARY KEY, number bigint NOT NULL,"
    " version bigint NOT NULL, epoch text NOT NULL, floor_ts bigint NOT NULL, cursor text NOT NULL);"
    "CREATE TABLE csync._sync_epochs(id bigserial PRIMARY KEY, epoch text NOT NULL UNIQUE,"
    " first_version bigint NOT NULL);"
    "CREATE TABLE csync._sync_parked(id bigserial PRIMARY KEY, table_name text NOT NULL,"
    " pk_value text COLLATE \"C\" NOT NULL, operation text NOT NULL, payload text, origin text"
    " COLLATE \"C\" NOT NULL, timestamp text NOT NULL, seq bigint NOT NULL, reason text NOT NULL,"
    " message text NOT NULL, since text NOT NULL);"
    "CREATE INDEX ON csync._sync_parked(pk_value, table_name);"
    "CREATE TABLE csync._sync_subscriptions(subscription_id text COLLATE \"C\" PRIMARY KEY,"
    " origin_id text NOT NULL, subscription_type text NOT NULL"
    " CHECK(subscription_type IN ('record','table','query')), table_name text NOT NULL, filter text,"
    " created_at text NOT NULL, expires_at text COLLATE \"C\", version bigint NOT NULL DEFAULT 0);"
    "CREATE TABLE csync._sync_conflicts(id bigserial PRIMARY KEY, at text NOT NULL,"
    " table_name text NOT NULL, pk_value text NOT NULL, strategy text NOT NULL, decision text NOT NULL,"
    " loser_operation text, loser_payload text, loser_origin text, loser_timestamp text,"
    " loser_seq bigint, winner_operation text, winner_payload text, winner_origin text,"
    " winner_timestamp text, winner_seq bigint);"
    "INSERT INTO csync._sync_state(key,value) VALUES('last_server_version','0'),"
    "('last_push_version','0'),('folded_version','0'),('relay','0'),('unlogged','0');"
    "INSERT INTO csync._sync_session VALUES(1,0);";

/* _sync_marks: the locks of those who are at it, and the last version before their first; pid NULL is a prepared
 * transaction. Whoever writes the log calls _sync_enter before its first version; the lock is released after its versions are
 * visible. _sync_horizon reads the sequence first and the locks then, and its caller selects in a later
 * statement: all three orders matter. */
static const char functions_sql[] =
    "CREATE VIEW csync._sync_marks AS SELECT pid, virtualtransaction,"
    " ((classid::bigint & 65535) << 32) | objid::bigint AS mark FROM pg_locks"
    " WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND classid::bigint >> 16 = " PG_LOCK_TAG
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database());"
    "CREATE FUNCTION csync._sync_time(ms bigint) RETURNS text LANGUAGE sql STABLE AS $$"
    " SELECT pg_catalog.to_char(timestamp 'epoch' + ms * interval '1 millisecond',"
    " 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') $$;"
    "CREATE FUNCTION csync._sync_wall() RETURNS bigint LANGUAGE sql VOLATILE AS $$"
    " SELECT pg_catalog.floor(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint $$;"
    "CREATE FUNCTION csync._sync_now() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$ BEGIN" /* which keeps its plan */
    " RETURN (SELECT greatest(csync._sync_wall(), clock) FROM csync._sync_session WHERE id = 1); END $$;"
    "CREATE FUNCTION csync._sync_enter() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$ BEGIN"
    " IF coalesce(current_setting('csync.lo', true), '') = '' THEN"
    "  PERFORM pg_advisory_xact_lock_shared((" PG_LOCK_TAG " << 48) | set_config('csync.lo',"
    "   (CASE WHEN is_called THEN last_value ELSE last_value - 1 END)::text, true)::bigint)"
    "  FROM csync._sync_log_version_seq;"
    " END IF; RETURN csync._sync_now(); END $$;"
    "CREATE FUNCTION csync._sync_last() RETURNS bigint LANGUAGE sql VOLATILE AS $$"
    " SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END"
    " FROM csync._sync_log_version_seq $$;"
    "CREATE FUNCTION csync._sync_horizon() RETURNS bigint LANGUAGE plpgsql VOLATILE"
    " SET search_path = pg_catalog, pg_temp AS $$"
    " DECLARE last bigint; held bigint; BEGIN"
    " IF current_setting('transaction_isolation') <> 'read committed' THEN"
    "  RAISE EXCEPTION 'csync: the horizon needs READ COMMITTED'; END IF;"
    " last := csync._sync_last();"
    " SELECT min(mark) INTO held FROM csync._sync_marks WHERE pid IS DISTINCT FROM pg_backend_pid();" /* NULL: prepared */
    " RETURN least(last, coalesce(held, last)); END $$;";

/* Everything of the catalogue that base.tables was made from, and the triggers; and whether others have switched relay
 * on. It is asked in every transaction, so it is a function, whose plan the server keeps; and so that it costs the same in
 * a catalogue of any size, tables are looked for by the parts of tracked names behind a point that may be theirs, and
 * columns by table. */
static const char catalogue_sql[] =
    "CREATE FUNCTION csync._sync_catalogue(OUT print text, OUT relay text) LANGUAGE plpgsql AS $$ BEGIN "
    "WITH c AS MATERIALIZED (SELECT t.id,t.fingerprint,c.oid,c.relname FROM pg_class c JOIN pg_namespace n ON "
    "n.oid=c.relnamespace JOIN csync._sync_tables t ON t.name=CASE n.nspname WHEN 'public' THEN c.relname "
    "ELSE n.nspname||'.'||c.relname END WHERE c.relname=ANY(ARRAY(SELECT substr(s.name,i)::name FROM "
    "csync._sync_tables s,generate_series(1,length(s.name)) i WHERE i=1 OR substr(s.name,i-1,1)='.'))) "
    "SELECT md5(coalesce(string_agg(d,';' ORDER BY d),'')),(SELECT value FROM csync._sync_state WHERE "
    "key='relay') INTO print,relay FROM (SELECT concat_ws(',',c.id,c.fingerprint,"
    "c.oid,c.relname,a.attname,a.atttypid,a.atttypmod,a.attnotnull,a.attgenerated) FROM c JOIN "
    "pg_attribute a ON a.attrelid=c.oid AND a.attnum>0 AND NOT a.attisdropped WHERE "
    "a.attrelid=ANY(ARRAY(SELECT oid FROM c)) "
    "UNION ALL SELECT concat_ws(',','t',id,name) FROM csync._sync_tables "
    "UNION ALL SELECT concat_ws(',','p',inhrelid,inhparent) FROM pg_inherits "
    "UNION ALL SELECT concat_ws(',','k',k.oid,k.conrelid,k.confdeltype) FROM pg_constraint k WHERE "
    "k.contype IN ('f','p','u') AND k.connamespace<>'pg_catalog'::regnamespace "
    "UNION ALL SELECT concat_ws(',','g',g.oid,g.tgenabled) FROM pg_trigger g WHERE g.tgname LIKE "
    "'\\_sync\\_%' OR " PG_CHANGES_ROWS ") x(d); END $$;";

static int exists(cs_pg *b, int *found, csync_error *err)
{
    int64_t n = 0;
    int rc = pg_query_int(b,
                          "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON "
                          "n.oid=c.relnamespace WHERE n.nspname='csync' AND "
                          "c.relname='_sync_conflicts'",
                          NULL, &n, NULL, err);

    *found = n > 0;
    return rc;
}

/* The stored origin, else `wanted`, else a new one. */
static int settle_origin(cs_pg *b, const char *wanted, csync_error *err)
{
    char stored[CSYNC_ORIGIN_SIZE];
    int fresh = 0;
    int rc = pg_state_text(b, "origin_id", stored, sizeof stored, err);

    if (rc == CSYNC_OK)
        rc = cs_origin_settle(stored, wanted, &fresh, err);
    if (rc == CSYNC_OK && fresh)
        rc = pg_state_put(b, "origin_id", stored, err);
    if (rc == CSYNC_OK)
        memcpy(b->base.origin, stored, sizeof stored);
    return rc;
}

/* Another process may be doing the same: the lock is held until its tables are there. */
static int create(cs_pg *b, csync_error *err)
{
    int found = 0;
    int rc = pg_exec(b, "SELECT pg_advisory_xact_lock(" PG_WRITER_LOCK ")", err);

    if (rc == CSYNC_OK)
        rc = exists(b, &found, err);
    if (rc != CSYNC_OK || found)
        return rc;
    rc = pg_check_rights_to_create(b, err);
    if (rc == CSYNC_OK)
        rc = pg_exec(b, tables_sql, err);
    if (rc == CSYNC_OK)
        rc = pg_exec(b, functions_sql, err);
    if (rc == CSYNC_OK)
        rc = pg_exec(b, catalogue_sql, err);
    return rc == CSYNC_OK ? pg_lock_test(b, err) : rc;
}

/* Who it is now, and whose copy. */
static int recall(cs_pg *b, csync_error *err)
{
    int rc = b->base.ops->begin(&b->base, 0, err);

    if (rc == CSYNC_OK)
        rc = settle_origin(b, NULL, err);
    if (rc == CSYNC_OK)
        rc = pg_state_int(b, "copied_at", &b->base.copied_at, err);
    if (rc == CSYNC_OK)
        rc = pg_state_text(b, "copied_from", b->base.copied_from, sizeof b->base.copied_from, err);
    if (rc == CSYNC_OK)
        rc = b->base.ops->commit(&b->base, err);
    if (rc != CSYNC_OK)
        b->base.ops->rollback(&b->base);
    return rc;
}

/* Opening a replica again writes nothing, so that it never waits for a writer; unless the database is a copy. */
int pg_init(cs_backend *base, const char *origin, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    int found = 0;
    int rc = pg_begin_init(b, err);

    if (rc == CSYNC_OK)
        rc = exists(b, &found, err);
    if (rc == CSYNC_OK)
        rc = found ? pg_check_rights_to_use(b, err) : create(b, err);
    if (rc == CSYNC_OK)
        rc = settle_origin(b, origin, err);
    if (rc == CSYNC_OK && !found)
        rc = pg_remember_database(b, err);
    if (rc == CSYNC_OK)
        rc = base->ops->commit(base, err);
    if (rc != CSYNC_OK) {
        base->ops->rollback(base);
        return rc;
    }
    rc = pg_settle_identity(b, origin != NULL, err);
    return rc == CSYNC_OK ? recall(b, err) : rc;
}
