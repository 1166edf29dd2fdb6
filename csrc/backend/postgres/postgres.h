/* postgres.h - the PostgreSQL backend's own declarations.
 *
 * libpq is opened at run time, never linked: its functions are called through b->pq->NAME. csync's tables
 * are in the schema csync. Versions are given out before their transaction commits, so a reader goes no further
 * than csync._sync_horizon(): every version up to there is committed or will never be. */
#ifndef CS_POSTGRES_H
#define CS_POSTGRES_H
#include <libpq-fe.h>

#include "backend/backend.h"
#include "backend/row_list.h"
#include "codec/row.h"

/* The key of the shared lock that every writing transaction holds is this plus the last version before its first
 * one. Both who takes the lock and who looks for it are generated from here. */
#define PG_LOCK_TAG "x'5359'::bigint"
/* The lock that csync's own write transactions take one after the other. */
#define PG_WRITER_LOCK "(x'5358'::bigint<<48)"

/* Bits of a head's state column. */
enum { PG_DELETED = 1, PG_AGREED = 2 };
enum { PG_ARGS = 20, PG_STATE_SIZE = 6 };

/* pg_catalog comes first unless the search path names it elsewhere; then, for this transaction, it is named first. The rest
 * stays as it is for the application's own triggers. Safe itself on any path. */
#define PG_SAFE_PATH                                                                               \
    "SELECT pg_catalog.set_config('search_path','pg_catalog,' OPERATOR(pg_catalog.||) "            \
    "pg_catalog.current_setting('search_path'),true) WHERE pg_catalog.strpos("                     \
    "pg_catalog.current_setting('search_path'),'pg_catalog') OPERATOR(pg_catalog.>) 0"

#define PG_FUNCTIONS(X)                                                                            \
    X(PQconnectdb)                                                                                 \
    X(PQstatus)                                                                                    \
    X(PQsetNoticeProcessor)                                                                        \
    X(PQerrorMessage)                                                                              \
    X(PQfinish)                                                                                    \
    X(PQexec)                                                                                      \
    X(PQexecParams)                                                                                \
    X(PQresultStatus)                                                                              \
    X(PQresultErrorField)                                                                          \
    X(PQclear)                                                                                     \
    X(PQntuples)                                                                                   \
    X(PQnfields)                                                                                   \
    X(PQfname)                                                                                     \
    X(PQftype)                                                                                     \
    X(PQgetvalue)                                                                                  \
    X(PQgetisnull)                                                                                 \
    X(PQgetlength)                                                                                 \
    X(PQcmdStatus)                                                                                 \
    X(PQcmdTuples)                                                                                 \
    X(PQtransactionStatus)                                                                         \
    X(PQserverVersion)                                                                             \
    X(PQgetCancel)                                                                                 \
    X(PQcancel)                                                                                    \
    X(PQfreeCancel)

typedef struct pg_libpq_table {
#define PG_MEMBER(name) __typeof__(&(name)) name;
    PG_FUNCTIONS(PG_MEMBER)
#undef PG_MEMBER
} pg_libpq_table;

/* How a column's values are written as JSON; from PG_OTHER on as text, PG_WIDE without zeros at its end, PG_TIMESTAMPTZ
 * with T and Z, the others as PostgreSQL writes it. Moments come last. */
enum pg_kind {
    PG_INT,
    PG_NUMERIC,
    PG_FLOAT,
    PG_BOOL,
    PG_TEXT,
    PG_BYTEA,
    PG_OTHER,
    PG_WIDE, /* a numeric that is declared wider than a double */
    PG_UUID,
    PG_INET, /* whose cast to text adds the mask of a host */
    PG_JSONB,
    PG_TIMESTAMPTZ,
    PG_TIMESTAMP,
    PG_DATE,
    PG_TIME
};

/* The wire's name of the table whose pg_class row is c and pg_namespace row is n. */
#define PG_WIRE_NAME_OF(c, n)                                                                      \
    "CASE " n ".nspname WHEN 'public' THEN " c ".relname ELSE " n ".nspname||'.'||" c ".relname END"
#define PG_WIRE_NAME PG_WIRE_NAME_OF("c", "n")

/* Of pg_trigger g: a trigger of the application that may write another row than it was given. */
#define PG_CHANGES_ROWS "NOT g.tgisinternal AND g.tgtype&3=3 AND g.tgenabled<>'D'"

typedef struct pg_column {
    char *cast; /* the type behind a domain, without length or scale */
    char *sequence; /* that its default comes from, or NULL */
    int64_t top; /* the highest value written since advance_sequences */
    long length, scale; /* characters, digits after the point; -1: any number */
    int single; /* a float4 */
    int rounds; /* it has fewer digits of a second than its type */
} pg_column;

/* What this backend keeps of a tracked table, in cs_table.prepared. */
typedef struct pg_table {
    enum pg_kind *kinds; /* by column */
    char *name; /* quoted, with its schema */
    char **parts; /* the same of the table and of all its partitions */
    unsigned char *holds_rows; /* by part: it is not partitioned itself */
    size_t part_count;
    char *shape; /* a condition over its rows of pg_attribute: they are as they were */
    char *row_sql, *key_sql; /* a row of alias x as JSON */
    char *order_sql; /* ORDER BY list in the order of the keys' neutral forms */
    char *moving_sql; /* a text of what other rows follow when it changes, of a row of alias x; NULL: nothing */
    pg_column *columns;
    int has_sequence; /* some column takes its default from a sequence */
    int reads_back; /* a trigger may change its rows */
} pg_table;

typedef struct pg_own pg_own;

typedef struct cs_pg {
    cs_backend base;
    pg_libpq_table functions;
    const pg_libpq_table *pq; /* the same */
    PGconn *conn;
    int owned; /* the connection is csync's, not the application's */
    PGcancel *cancel;
    int busy_ms;
    int in_tx;
    int suppressed;
    int merging; /* what is captured meanwhile is what foreign keys do */
    int64_t top; /* the horizon of this transaction */
    char sqlstate[PG_STATE_SIZE]; /* of the last failure */
    cs_buf constraint; /* that it violated: SCHEMA.NAME, quoted */
    char schema[40]; /* what the catalogue was when base.tables was loaded; "": not loaded */
    int tables_are_new; /* and no parked change was tried with them yet */
    char epoch[CS_EPOCH_ID_SIZE];
    int epoch_new;
    cs_row key_row, payload_row; /* what key and cells borrow from */
    cs_value *key; /* decoded key of the change at hand */
    cs_value *cells; /* decoded payload, by column */
    unsigned char *present; /* which cells the payload had */
    size_t cell_cap;
    pg_own *own; /* rows that become changes of this replica: see own.c */
    size_t own_count, own_cap;
    cs_buf pk; /* the key at hand as heads and log spell it */
    char **origins; /* every origin met: heads borrow them */
    size_t origin_count, origin_cap;
} cs_pg;

/* Parameters of a statement; integers are kept inside. */
typedef struct pg_args {
    const char *values[PG_ARGS];
    char digits[PG_ARGS][24];
    int count;
} pg_args;

/* libpq.c */
/* `library`: of dlopen, NULL: the system's. */
int pg_libpq(void *library, pg_libpq_table *out, csync_error *err);

/* exec.c - running statements. */
void pg_text(pg_args *a, const char *text); /* NULL: NULL */
void pg_int(pg_args *a, int64_t value);
int pg_fail(cs_pg *b, const PGresult *result, csync_error *err);
/* `out` NULL: the result is dropped. Else it is the caller's, to be PQcleared; NULL after a failure. */
int pg_run(cs_pg *b, const char *sql, const pg_args *args, PGresult **out, csync_error *err);
int pg_run_many(cs_pg *b, const char *sql, const char *const *params, int count, PGresult **out,
                csync_error *err);
int pg_exec(cs_pg *b, const char *sql, csync_error *err); /* any number of statements */
int pg_exec_last(cs_pg *b, const char *sql, PGresult **out,
                 csync_error *err); /* what the last of them gives */
int pg_exec_buf(cs_pg *b, cs_buf *sql, csync_error *err); /* the same, and frees it */
/* The first value; *found 0: there is none or it is NULL. `found` may be NULL. */
int pg_query_int(cs_pg *b, const char *sql, const pg_args *args, int64_t *out, int *found,
                 csync_error *err);
int pg_rows(const cs_pg *b, const PGresult *r);
const char *pg_cell(const cs_pg *b, const PGresult *r, int row, int column); /* NULL for NULL */
int64_t pg_cell_int(const cs_pg *b, const PGresult *r, int row, int column); /* 0 for NULL */
int64_t pg_affected(const cs_pg *b, PGresult *r);
void pg_clear(const cs_pg *b, PGresult *r);
int pg_savepoint(cs_pg *b, csync_error *err);
/* Constraints that could be checked late are checked row by row: else a row whose parent is missing would fail the commit,
 * and with it the batch. */
int pg_check_now(cs_pg *b, csync_error *err);
int pg_savepoint_end(cs_pg *b, int undo, csync_error *err);
/* After a failed statement: why the row cannot be written, static text; NULL: it is no fault of the row. */
const char *pg_reason(const cs_pg *b);

/* open.c */
/* Begins the transaction in which csync's tables are made: there is no horizon yet. */
int pg_begin_init(cs_pg *b, csync_error *err);
/* array.c - literals of one-dimensional arrays. */
void pg_array_add(cs_buf *array, const char *element); /* NULL: NULL */
void pg_array_add_int(cs_buf *array, int64_t element);
const char *pg_array_text(cs_buf *array); /* ends it; NULL: a failure that sticks to the buffer */

/* schema.c - csync's own tables. */
int pg_init(cs_backend *base, const char *origin, csync_error *err);

/* identity.c */
int pg_remember_database(cs_pg *b, csync_error *err);
/* After settle_origin. `is_pinned`: the caller insists on the origin. */
int pg_settle_identity(cs_pg *b, int is_pinned, csync_error *err);

/* describe.c */
int pg_describe(cs_pg *b, const char *table, int capture, cs_table **out, csync_error *err);
void pg_forget_table(cs_table *t);
void pg_forget_all(cs_pg *b);

/* value.c - columns <-> JSON. */
void pg_put_value_sql(cs_buf *s, enum pg_kind kind, const char *prefix, const char *column);
void pg_put_row_sql(cs_buf *s, const cs_table *t, const enum pg_kind *kinds, int only_key);
/* The text form of a value for a parameter, appended with its NUL; *reason: the column cannot hold it. */
void pg_put_param(cs_buf *s, enum pg_kind kind, const cs_value *value, const char **reason);
/* The type of a parameter that many values are given in. What is text for csync is cast to the column's type where it is
 * used. */
const char *pg_param_type(enum pg_kind kind);
int pg_is_uuid(const cs_value *text); /* as PostgreSQL writes it */
int pg_reserve_cells(cs_pg *b, csync_error *err);
/* Decodes a key into b->key and b->pk. CSYNC_EINVAL: malformed. *reason: no row here can have it. */
int pg_read_key(cs_pg *b, const cs_table *t, const char *pk, const char **reason, csync_error *err);
/* Decodes a payload into b->cells and b->present. CSYNC_EINVAL; CSYNC_ESCHEMA: an unknown column. */
int pg_read_payload(cs_pg *b, const cs_table *t, const char *payload, size_t len, csync_error *err);
/* Runs `sql` with the columns of b->key as $1.. */
int pg_run_key(cs_pg *b, const cs_table *t, const char *sql, PGresult **out, csync_error *err);
/* Runs `sql` with the columns of b->cells that are present as $1.., whose texts are in `text`, and `last` (NULL: none)
 * after them. */
int pg_run_cells(cs_pg *b, const cs_table *t, const char *sql, const cs_buf *text, const char *last,
                 PGresult **out, csync_error *err);
void pg_put_key_where(cs_buf *s, const cs_table *t); /* WHERE x."a"=$1 AND ... */

/* spelling.c */
/* The text is what PostgreSQL would write for it, or no value of the kind at all. 0: who knows. */
int pg_is_own_spelling(enum pg_kind kind, const cs_value *text);
/* Compares the row that was written, as JSON, with b->cells. *reason "type" and *err, though CSYNC_OK comes back: a value
 * has become another. *respelled 1: one is the same, spelled otherwise. */
int pg_check_row(cs_pg *b, const cs_table *t, const char *row, int *respelled, const char **reason,
                 csync_error *err);
/* *reason "type": b->pk, as capture spells it, is not what b->key says. */
int pg_check_key(cs_pg *b, const cs_table *t, const char **reason, csync_error *err);

/* capture.c */
/* SQL of a text: the condition over rows of pg_attribute that the relation with that oid (SQL) has the columns it has now. */
void pg_put_shape_sql(cs_buf *s, const char *oid);
void pg_trigger_sql(cs_buf *s, const cs_table *t);
void pg_drop_trigger_sql(cs_buf *s, int64_t id);
int pg_trigger_sql_of(cs_backend *base, const char *table, int capture, cs_buf *sql,
                      csync_error *err);

/* track.c */
int pg_track(cs_backend *base, const char *table, int capture, csync_error *err);
int pg_untrack(cs_backend *base, const char *table, csync_error *err);
int pg_check_schema(cs_backend *base, int64_t *repaired, csync_error *err);
int pg_schema_changed(cs_backend *base, int *changed, csync_error *err);

/* log.c */
int pg_fold(cs_backend *base, csync_error *err);
int pg_needs_fold(cs_backend *base, int has_folded, int *needed, csync_error *err);
int pg_start_relay(cs_backend *base, csync_error *err);
int pg_complete_log(cs_backend *base, int all, csync_error *err);
int pg_log_top(cs_backend *base, int64_t *version, csync_error *err);
int pg_last_version(cs_pg *b, int64_t *version, csync_error *err); /* given out, committed or not */
int pg_pending(cs_backend *base, int64_t since, int *found, csync_error *err);
int pg_log_change(cs_backend *base, int64_t version, csync_batch *batch, csync_error *err);
int pg_page(cs_backend *base, const cs_page_request *request, csync_batch *batch, csync_error *err);
/* Takes the lock that readers respect, and gives the time for a stamp. */
int pg_enter_log(cs_pg *b, csync_error *err);
int pg_log_append(cs_pg *b, const csync_change *change, int local, int64_t *version,
                  csync_error *err);

/* head.c - heads of rows; by b->pk. */
void pg_forget_origins(cs_pg *b);
int pg_head_get(cs_pg *b, const cs_table *t, cs_head *out, int64_t *parked, csync_error *err);
int pg_heads_get(cs_backend *base, cs_item *items, size_t count, csync_error *err);
/* Of changes that did not beat their heads: CSYNC_LOST, CSYNC_DUPLICATE, or no status where the stamps are equal and the
 * contents may differ. */
int pg_heads_compare(cs_pg *b, cs_item *const *list, size_t count, csync_error *err);
int pg_head_change(cs_backend *base, const cs_item *item, csync_batch *batch, csync_error *err);
int pg_agree(cs_backend *base, cs_table *t, const csync_change *change, csync_error *err);
int pg_head_set_parked(cs_pg *b, const cs_table *t, int64_t parked, csync_error *err);
/* The row with key b->key, appended. */
int pg_row_payload(cs_pg *b, const cs_table *t, cs_buf *out, int *found, csync_error *err);
int pg_scan(cs_backend *base, const cs_table *t, cs_row_visit visit, void *ctx, csync_error *err);
int pg_look(cs_backend *base, cs_table *t, const char *pk, cs_head *head, cs_row_visit visit,
            void *ctx, csync_error *err);
int pg_restore(cs_backend *base, cs_table *t, const csync_change *change, const char **reason,
               csync_error *err);

/* merge.c */
/* A head is taken by whoever beats it. */
#define PG_TAKE_HEAD                                                                               \
    "INSERT INTO csync._sync_rows AS r(table_id,pk,version,ts,origin,seq,state,via) "
#define PG_TAKE_CONFLICT                                                                            \
    " ON CONFLICT(table_id,pk) DO UPDATE SET version=excluded.version,ts=excluded.ts,"              \
    "origin=excluded.origin,seq=excluded.seq,state=excluded.state,via=excluded.via,base_version=0," \
    "base_ts=0,base_origin=NULL,base_seq=0 WHERE "
#define PG_BEATS "(excluded.ts,excluded.origin,excluded.seq)>(r.ts,r.origin,r.seq)"
int pg_merge(cs_backend *base, cs_item *items, size_t count, const cs_merge *how, csync_error *err);

/* bulk.c */
/* Tries to write the changes of items[order[0]], items[order[1]]... in one statement, as many as go together, at most
 * `count`; *tried: how many those are. *done 1: they are written and their status is CSYNC_APPLIED, or 0 where the head
 * won. *done 0: nothing has happened. `rows_only`: all of them have their heads and log entries. */
int pg_bulk(cs_pg *b, cs_item *items, const size_t *order, size_t count, const cs_merge *how,
            int rows_only, size_t *tried, int *done, csync_error *err);

/* rows.c */
typedef struct pg_wanted {
    cs_table *table; /* NULL: nothing is wanted */
    const char *pk;
    char *payload; /* the row, as a payload; NULL: there is none */
} pg_wanted;
int pg_read_rows(cs_pg *b, pg_wanted *list, size_t count, csync_error *err);
void pg_wanted_free(pg_wanted *list, size_t count);
int pg_delete_rows(cs_pg *b, const cs_row_list *rows, csync_error *err); /* in one statement */
/* row.c - the columns are those of b->present. */
void pg_note_sequences(cs_pg *b,
                       const cs_table *t); /* that b->cells hold numbers which a sequence may give */
void pg_put_insert(cs_pg *b, const cs_table *t, cs_buf *sql); /* INSERT up to the values */
void pg_put_conflict(cs_pg *b, const cs_table *t, cs_buf *sql); /* ON CONFLICT that updates them */
/* A change from another schema leaves the columns alone that it lacks. Whether they hold more than their defaults, which
 * everybody would put there: an expression on the row x. */
void pg_put_kept(cs_pg *b, const cs_table *t, cs_buf *sql);
/* Writes the row of `change`, whose key is in b->key. *reason: it cannot be written now; nothing happened. */
int pg_write_row(cs_pg *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err);

/* cascade.c */
typedef struct pg_moving {
    char *before; /* what other rows follow; NULL: the row is new, or they follow nothing */
    cs_row_list rows; /* that follow it */
} pg_moving;
int pg_describe_moving(cs_pg *b, cs_table *t, csync_error *err); /* once all tables are loaded */
/* Around an upsert of the row in b->key, which both leave as it is; `after`: moving_sql of the row then, NULL: there is
 * none. The rows that followed are noted. */
int pg_moving_begin(cs_pg *b, cs_table *t, const char *pk, pg_moving *m, csync_error *err);
int pg_moving_end(cs_pg *b, cs_table *t, const char *pk, pg_moving *m, const char *after,
                  csync_error *err);
void pg_moving_free(pg_moving *m);

/* own.c */
/* The row is one that its head does not say all of; b->key and b->pk become its own. */
int pg_own_add(cs_pg *b, cs_table *t, const char *pk, csync_error *err);
int pg_own_has_other(const cs_pg *b, const cs_table *t, const char *pk); /* than that one */
void pg_own_cut(cs_pg *b, size_t count); /* after a ROLLBACK TO a savepoint: b->own_count then */
int pg_own_log(cs_pg *b, csync_error *err); /* and folds */

/* collide.c */
/* pg_write_row; a row that is in its way through a UNIQUE index and has a lower stamp is parked. */
int pg_enter_row(cs_pg *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err);

/* victims.c - all leave b->key undefined. */
/* Parks the listed rows, and those that refer to them, which are added. *parked 0: one has to stay; nothing happened. */
int pg_victims_park(cs_pg *b, cs_row_list *rows, const char *reason, const char *message,
                    int *parked, csync_error *err);
/* *is 1: a row refers to the row in b->key, or one of an untracked table may. */
int pg_is_referred_to(cs_pg *b, cs_table *t, int *is, csync_error *err);
/* Parks the rows that refer to the row in b->key, and those that refer to them. `all` 0: only where the foreign key
 * forbids that the row goes. */
int pg_park_children(cs_pg *b, cs_table *t, int all, csync_error *err);
int pg_park_orphans(cs_pg *b, csync_error *err); /* every row that refers to nothing */
/* Adds the rows of `child` that refer to the row of `t` in b->key. */
int pg_collect_through(cs_backend *base, cs_table *t, cs_table *child, const cs_foreign_key *fk,
                       cs_row_list *out, csync_error *err);

/* park.c */
/* Adds an entry to _sync_parked and gives its id; the head does not know of it yet. */
int pg_park_add(cs_pg *b, const csync_change *c, const char *pk, const char *reason,
                const char *message, int64_t *id, csync_error *err);
int pg_park(cs_pg *b, cs_table *t, const csync_change *change, const char *reason,
            const char *message, csync_error *err);
int pg_park_unknown(cs_pg *b, const cs_change *change, const char *reason, int relay, int *status,
                    csync_error *err);
int pg_park_supersede(cs_pg *b, const cs_table *t, csync_error *err);
int pg_any_parked(cs_pg *b, int *any, csync_error *err);
int pg_retry_parked(cs_backend *base, csync_error *err);
int pg_parked_count(cs_backend *base, int64_t *count, csync_error *err);
int pg_parked(cs_backend *base, cs_parked_visit visit, void *ctx, csync_error *err);

/* state.c */
int pg_state_text(cs_pg *b, const char *key, char *out, size_t size, csync_error *err);
int pg_state_int(cs_pg *b, const char *key, int64_t *out, csync_error *err);
int pg_state_put(cs_pg *b, const char *key, const char *value, csync_error *err);
int pg_state_put_int(cs_pg *b, const char *key, int64_t value, csync_error *err);
int pg_raise_clock(cs_backend *base, int64_t ts, csync_error *err);
int pg_stamp_now(cs_backend *base, int64_t *ts, csync_error *err);
int pg_wall_clock(cs_backend *base, int64_t *ts, csync_error *err);
int pg_reply_get(cs_backend *base, int64_t peer, const char *key, cs_buf *reply, int *found,
                 csync_error *err);
int pg_reply_put(cs_backend *base, int64_t peer, const char *key, const char *reply,
                 csync_error *err);
int pg_heard(cs_backend *base, cs_heard_visit visit, void *ctx, csync_error *err);
int pg_heard_put(cs_backend *base, const cs_heard *heard, csync_error *err);
int pg_peer_get(cs_backend *base, const char *peer, cs_peer *out, csync_error *err);
int pg_peer_put(cs_backend *base, const char *peer, cs_peer *value, csync_error *err);
int pg_other_peers(cs_backend *base, const char *peer, int *found, csync_error *err);
int pg_state(cs_backend *base, csync_state *out, csync_error *err);
int pg_conflict_add(cs_backend *base, const cs_conflict *conflict, csync_error *err);
int pg_conflicts(cs_backend *base, int64_t since, int limit, cs_conflict_visit visit, void *ctx,
                 csync_error *err);

/* rights.c - what this role may not do, with the GRANT that helps; all CSYNC_EDB. */
int pg_check_rights_to_create(cs_pg *b, csync_error *err); /* csync's tables */
int pg_check_rights_to_use(cs_pg *b, csync_error *err); /* csync's tables, which are there */
int pg_check_rights(cs_pg *b, const char *name,
                    csync_error *err); /* to track the table, quoted with its schema */

/* lag.c - who holds the log back. */
int pg_lag(cs_backend *base, cs_holder_visit visit, void *ctx, csync_error *err);
/* doctor.c */
int pg_doctor(cs_backend *base, cs_advice_visit visit, void *ctx, csync_error *err);
/* CSYNC_EUNSUPPORTED: the lock that readers respect is taken and not seen; on such a server commits would be skipped. In a
 * write transaction. */
int pg_lock_test(cs_pg *b, csync_error *err);

/* subscription.c */
void pg_signs(cs_backend *base, cs_signs *out);
int pg_has_news(cs_backend *base, int64_t since, int *has, csync_error *err);
int pg_subscription_get(cs_backend *base, const cs_subscription *wanted, int *found,
                        int64_t *version, csync_error *err);
int pg_subscription_put(cs_backend *base, const cs_subscription *s, csync_error *err);
int pg_subscription_drop(cs_backend *base, const char *id, csync_error *err);
int pg_subscriptions_expire(cs_backend *base, csync_error *err);

/* restamp.c */
int pg_stamp_again(cs_backend *base, int64_t ts, int64_t *count, csync_error *err);

/* client.c */
int pg_client_put(cs_backend *base, const char *origin, int64_t version, int goes_there,
                  csync_error *err);
int pg_client_get(cs_backend *base, const char *origin, cs_contact *out, csync_error *err);
int pg_client_forget(cs_backend *base, const char *origin, csync_error *err);
int pg_clients(cs_backend *base, int stale_days, cs_client_visit visit, void *ctx, csync_error *err);
int pg_safe_version(cs_backend *base, int stale_days, int64_t *version, csync_error *err);
int pg_floors(cs_backend *base, cs_floors *out, csync_error *err);
int pg_purge(cs_backend *base, int64_t version, csync_purged *out, csync_error *err);

/* epoch.c */
int pg_settle(cs_backend *base, csync_error *err);
int pg_settled(cs_backend *base, int *settled, csync_error *err);
int pg_position(cs_backend *base, cs_position *out, csync_error *err);
int pg_judge(cs_backend *base, const cs_position *position, cs_verdict *out, csync_error *err);

/* snapshot.c */
int pg_snapshot_page(cs_backend *base, const cs_page_request *request, csync_batch *batch,
                     cs_buf *next, csync_error *err);
int pg_snapshot_get(cs_backend *base, int64_t peer, cs_snapshot *out, csync_error *err);
int pg_snapshot_put(cs_backend *base, int64_t peer, cs_snapshot *s, csync_error *err);
int pg_forget_via(cs_backend *base, int64_t peer, csync_error *err);
int pg_offer(cs_backend *base, const cs_item *item, csync_error *err);
int pg_snapshot_seen(cs_backend *base, const cs_item *item, int64_t number, csync_error *err);
int pg_snapshot_unseen(cs_backend *base, const cs_snapshot *s, const unsigned char *served,
                       size_t limit, csync_batch *batch, csync_error *err);

/* query.c */
int pg_execute(cs_backend *base, const char *sql, const csync_value *params, size_t count,
               csync_row_fn fn, void *user_data, int64_t *changes, csync_error *err);
#endif
