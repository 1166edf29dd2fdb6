/* sqlite.h - the SQLite backend's own declarations.
 *
 * SQLite is called through the function table of the copy that owns the connection, never through linked
 * symbols: every function that calls SQLite begins with SQ_API(b), which the macros of sqlite3ext.h use. */
#ifndef CS_SQLITE_H
#define CS_SQLITE_H
#include "sqlite3ext.h"

#include "backend/backend.h"
#include "backend/row_list.h"
#include "codec/row.h"

#define SQ_API(b) const sqlite3_api_routines *sqlite3_api = (b)->api
#define SQ_MIN_VERSION 3038000 /* JSON is built in from 3.38 */

/* Bits of a head's state column. */
enum {
    SQ_DELETED = 1,
    SQ_AGREED = 2,
    SQ_HIDDEN = 4 /* a suppressed write took the row away */
};
/* Of heads without a row in the table, as an index of the heads table has it. */
#define SQ_GONE "(state&1 OR parked)"

/* How many changes a statement of bulk.c takes, and of how many columns at most. */
enum { SQ_BULK = 50, SQ_BULK_COLUMNS = 100 };
/* Parameters of a head besides its key. */
enum { SQ_HEAD_PARAMS = 6 };
/* Statements that do not depend on a user table; their SQL is in statement.c. */
enum sq_fixed {
    SQ_BEGIN,
    SQ_BEGIN_WRITE,
    SQ_COMMIT,
    SQ_SAVEPOINT,
    SQ_UNDO,
    SQ_RELEASE,
    SQ_SCHEMA_VERSION,
    SQ_STATE_GET,
    SQ_STATE_PUT,
    SQ_SUPPRESS,
    SQ_CLOCK_GET,
    SQ_CLOCK_PUT,
    SQ_LOG_TOP,
    SQ_LOG_APPEND,
    SQ_LOG_SCAN,
    SQ_LOG_LOCAL_SCAN,
    SQ_LOG_ENTRY,
    SQ_LOG_LAST,
    SQ_LOG_PENDING,
    SQ_LOG_AFTER,
    SQ_LOG_DROP,
    SQ_LOG_BLANK,
    SQ_LOG_FIRST,
    SQ_LOG_LOCAL,
    SQ_LOG_DELETED,
    SQ_ORIGIN_ID,
    SQ_ORIGIN_ADD,
    SQ_ORIGIN_TEXT,
    SQ_PEER_GET,
    SQ_PEER_PUT,
    SQ_PEER_OTHER,
    SQ_HEARD,
    SQ_HEARD_PUT,
    SQ_EPOCH_ADD,
    SQ_EPOCH_GET,
    SQ_EPOCH_NEWEST,
    SQ_CLIENT_PUT,
    SQ_CLIENT_GET,
    SQ_CLIENT_FORGET,
    SQ_CLIENT_LIST,
    SQ_CLIENT_SAFE,
    SQ_LOG_TRIM,
    SQ_REPLY_GET,
    SQ_REPLY_PUT,
    SQ_SNAPSHOT_GET,
    SQ_SNAPSHOT_PUT,
    SQ_SNAPSHOT_DROP,
    SQ_WALL_CLOCK,
    SQ_CLOCK_SET,
    SQ_PARK_ADD,
    SQ_PARK_DROP,
    SQ_PARK_GET,
    SQ_PARK_LIST,
    SQ_PARK_ANY,
    SQ_PARK_FIND,
    SQ_PARK_FORGET,
    SQ_PARK_OF,
    SQ_PARK_AFTER,
    SQ_PARK_COUNT,
    SQ_SURPLUS_GET,
    SQ_SURPLUS_PUT,
    SQ_FOREIGN_KEYS,
    SQ_TEMP_TRIGGERS,
    SQ_CONFLICT_COUNT,
    SQ_CONFLICT_ADD,
    SQ_CONFLICT_LIST,
    SQ_SUBSCRIPTION_GET,
    SQ_SUBSCRIPTION_PUT,
    SQ_SUBSCRIPTION_DROP,
    SQ_SUBSCRIPTIONS_EXPIRE,
    SQ_FIXED_COUNT
};

/* Statements of one tracked table; their SQL is made in table_sql.c. ?1.. are the key columns. */
enum sq_per_table {
    SQT_HEAD_GET, /* key -> version, ts, origin, seq, state, via, parked, base_* */
    SQT_HEAD_TAKE, /* key, version, ts, origin, seq, state, via: only if it beats the head */
    SQT_HEADS_TAKE, /* SQ_BULK times the same */
    SQT_HEAD_FORCE, /* as SQT_HEAD_TAKE, whatever the head is */
    SQT_HEAD_FOLD, /* the same, and an agreed head becomes the base */
    SQT_HEAD_AGREE, /* key, ts, origin, seq: agreed if it is the head, else the base */
    SQT_HEAD_PARK, /* key, id of the parked change or 0 */
    SQT_HEAD_VERSION, /* key, version: gives an unlogged head its log entry */
    SQT_HEAD_OFFER, /* key, version: gives it another, which goes to every peer */
    SQT_HEAD_SEEN, /* key, number of a snapshot that has it */
    SQT_HEAD_SHOW, /* key: its row is there again after a suppressed write had taken it away */
    SQT_HEADS_ALL, /* key columns in order ... */
    SQT_HEADS_AFTER, /* ... behind a key */
    SQT_HEADS_UNSEEN, /* number, ts, own origin -> key columns of live heads that a peer once had */
    SQT_HEADS_AHEAD, /* own origin, ts -> key columns of later heads that no peer has */
    SQT_HEADS_LATEST, /* -> the latest ts */
    SQT_TOMBSTONES, /* version -> count and latest ts of the deleted rows up to it */
    SQT_TOMBSTONES_FORGET, /* version */
    SQT_HEAD_UNLOGGED, /* key columns and stamp of the heads without a log entry; ?1 0: only our own */
    SQT_ROW_GET,
    SQT_ROW_PUT,
    SQT_ROWS_PUT, /* SQ_BULK times the same */
    SQT_ROW_DELETE,
    SQT_ROW_SCAN,
    SQT_ORPHANS, /* the key columns of the rows that refer to a parent that is not there */
    SQT_COUNT
};

typedef struct sq_prepared {
    sqlite3_stmt *stmts[SQT_COUNT];
    sqlite3_stmt *partial; /* upsert of the columns marked in partial_mask */
    sqlite3_stmt *partial_kept; /* the key of a row that holds more in the other columns than their defaults */
    unsigned char *partial_mask;
    int untouched; /* no row was written since parked changes were last tried again */
    int written; /* this fold has met an insert or update of this replica's own */
} sq_prepared;

typedef struct cs_sqlite {
    cs_backend base;
    const sqlite3_api_routines *api;
    sqlite3 *db;
    int owned; /* close it */
    int busy_ms; /* how long to wait for another writer */
    int in_tx;
    int row_changes; /* rows that the last run_row wrote itself */
    int bind_failed; /* SQLite's code of a value that could not be bound; the next step fails */
    int native; /* SQLite's extended code of the last failure */
    sqlite3_stmt *fixed[SQ_FIXED_COUNT];
    int64_t schema_version; /* of base.tables; -1: not loaded */
    int only_our_triggers; /* so they may be switched off for the connection */
    int triggers_off; /* they are */
    int suppressed;
    int suppressed_writes; /* the suppressed transaction may have written rows */
    int flag_set; /* _sync_session.sync_active is 1 in the open transaction */
    int64_t me; /* id of base.origin */
    char epoch[CS_EPOCH_ID_SIZE]; /* that this handle has begun; "": none yet */
    int epoch_new; /* in the open transaction */
    char *last_origin; /* the origin looked up last ... */
    int64_t last_origin_id; /* ... and its id */
    char **origin_texts; /* by id */
    size_t origin_cap;
    int64_t next_version; /* of the log, while merging */
    int64_t merge_start; /* its last version when the merge began */
    int64_t foreign_from, foreign_to; /* the log's entries in between are not this replica's own */
    int captured; /* this merge has made entries of this replica's own */
    int acted; /* ... of what foreign keys did to other rows */
    int foreign_keys; /* the connection enforces them */
    int deferred; /* they are checked late in this transaction, so each row is checked by itself */
    int lenient; /* while all rows of a cycle are written before any is checked */
    int tables_are_new; /* and no parked change was tried with them yet */
    int any_parked; /* there are, or may be, parked changes */
    cs_row key_row, payload_row; /* what key and cells borrow from */
    cs_value *key; /* decoded key of the change at hand */
    cs_value *cells; /* decoded payload, by column; */
    unsigned char *present; /* which cells the payload had */
    size_t cell_cap;
} cs_sqlite;

/* bind.c - which copy of SQLite. */
int sq_bound(const sqlite3_api_routines **api, csync_error *err);
int sq_bind_api(const sqlite3_api_routines *api, csync_error *err);

/* statement.c - preparing, running, failing. */
int sq_fail(cs_sqlite *b, csync_error *err, const char *what);
int sq_prepare(cs_sqlite *b, const char *sql, sqlite3_stmt **out, csync_error *err);
/* Borrowed, reset and without bindings. */
int sq_fixed(cs_sqlite *b, enum sq_fixed which, sqlite3_stmt **out, csync_error *err);
int sq_table_stmt(cs_sqlite *b, cs_table *t, enum sq_per_table which, sqlite3_stmt **out,
                  csync_error *err);
/* The upsert that writes just the columns that b->present marks. */
int sq_partial_put(cs_sqlite *b, cs_table *t, sqlite3_stmt **out, csync_error *err);
/* After sq_partial_put, for the same columns. */
int sq_partial_kept(cs_sqlite *b, cs_table *t, sqlite3_stmt **out, csync_error *err);
int sq_step(cs_sqlite *b, sqlite3_stmt *stmt,
            csync_error *err); /* 1 row, 0 done, negative code; resets when done */
int sq_run(cs_sqlite *b, sqlite3_stmt *stmt, csync_error *err); /* step to the end, reset */
int sq_exec(cs_sqlite *b, const char *sql, csync_error *err);
int sq_exec_buf(cs_sqlite *b, cs_buf *sql, csync_error *err); /* runs and frees */
/* The first column of the first row; 0: there is none. */
int sq_fixed_int(cs_sqlite *b, enum sq_fixed which, int64_t *out, csync_error *err);
int sq_query_int(cs_sqlite *b, const char *sql, int64_t *out, csync_error *err);
void sq_forget_table(cs_sqlite *b, cs_table *t); /* finalises its statements and frees it */
void sq_forget_all(cs_sqlite *b);

/* cells.c - JSON <-> bound values. */
int sq_reserve_cells(cs_sqlite *b, csync_error *err);
void sq_bind(cs_sqlite *b, sqlite3_stmt *stmt, int at, const cs_value *value);
/* The same for a value that the next row that is read may overwrite. */
void sq_bind_passing(cs_sqlite *b, sqlite3_stmt *stmt, int at, const cs_value *value);
/* A column whose value in b->cells SQLite would change: NaN, or more digits than a double has; NULL: none. */
const cs_column *sq_misfit(const cs_sqlite *b, const cs_table *t);
void sq_bind_text(cs_sqlite *b, sqlite3_stmt *stmt, int at, const char *text);
void sq_bind_int(cs_sqlite *b, sqlite3_stmt *stmt, int at, int64_t value);
int sq_bind_key(cs_sqlite *b, sqlite3_stmt *stmt, const cs_table *t); /* ?1.. from b->key; next index */
void sq_column(cs_sqlite *b, sqlite3_stmt *stmt, int at, cs_value *out);
const char *sq_column_text(cs_sqlite *b, sqlite3_stmt *stmt, int at); /* NULL for NULL */
/* Decodes a key into b->key. CSYNC_EINVAL: not exactly the key columns, or NULL among them. */
int sq_read_key(cs_sqlite *b, const cs_table *t, const char *pk, size_t len, csync_error *err);
/* 1 when the payload that was decoded has every column. */
int sq_is_whole(const cs_sqlite *b, const cs_table *t);
/* 1 when `pk` is the key in b->key. */
int sq_is_key(cs_sqlite *b, const cs_table *t, const char *pk);
/* Decodes a payload into b->cells and b->present; checks its key against b->key. CSYNC_EINVAL: the key
 * differs or it is no row; CSYNC_ESCHEMA: an unknown column. */
int sq_read_payload(cs_sqlite *b, const cs_table *t, const char *payload, size_t len,
                    csync_error *err);
/* Appends the JSON object of the key (columns from `at` on) or of the whole row. */
void sq_put_key(cs_sqlite *b, sqlite3_stmt *stmt, int at, const cs_table *t, cs_buf *out);
void sq_put_row(cs_sqlite *b, sqlite3_stmt *stmt, int at, const cs_table *t, cs_buf *out);
/* The key in b->key. */
void sq_put_key_values(cs_sqlite *b, const cs_table *t, cs_buf *out);
/* The key out of a statement whose columns are all the table's. */
void sq_put_key_of_row(cs_sqlite *b, sqlite3_stmt *stmt, const cs_table *t, cs_buf *out);
/* Appends the present row with key b->key; *found 0: there is none. */
int sq_row_payload(cs_sqlite *b, cs_table *t, cs_buf *out, int *found, csync_error *err);

/* state.c - small tables: state, clock, origins, peers, conflicts. */
int sq_state_int(cs_sqlite *b, const char *key, int64_t *out, csync_error *err);
int sq_state_put_int(cs_sqlite *b, const char *key, int64_t value, csync_error *err);
int sq_state_text(cs_sqlite *b, const char *key, char *out, size_t size, csync_error *err);
int sq_state_put_text(cs_sqlite *b, const char *key, const char *value, csync_error *err);
int sq_origin_id(cs_sqlite *b, const char *origin, int64_t *id, csync_error *err);
int sq_origin_text(cs_sqlite *b, int64_t id, const char **out, csync_error *err);
int sq_raise_clock(cs_backend *b, int64_t ts, csync_error *err);
int sq_stamp_now(cs_backend *b, int64_t *ts, csync_error *err);
int sq_wall_clock(cs_backend *b, int64_t *ts, csync_error *err);
int sq_reply_get(cs_backend *b, int64_t peer, const char *key, cs_buf *reply, int *found,
                 csync_error *err);
int sq_reply_put(cs_backend *b, int64_t peer, const char *key, const char *reply, csync_error *err);
int sq_heard(cs_backend *b, cs_heard_visit visit, void *ctx, csync_error *err);
int sq_heard_put(cs_backend *b, const cs_heard *heard, csync_error *err);
int sq_peer_get(cs_backend *b, const char *peer, cs_peer *out, csync_error *err);
int sq_peer_put(cs_backend *b, const char *peer, cs_peer *value, csync_error *err);
int sq_other_peers(cs_backend *b, const char *peer, int *found, csync_error *err);
int sq_state(cs_backend *b, csync_state *out, csync_error *err);
/* doctor.c */
int sq_doctor(cs_backend *base, cs_advice_visit visit, void *ctx, csync_error *err);
int sq_conflict_add(cs_backend *b, const cs_conflict *conflict, csync_error *err);
int sq_conflicts(cs_backend *b, int64_t since, int limit, cs_conflict_visit visit, void *ctx,
                 csync_error *err);

/* subscription.c - who watches the log, and what a watcher needs to know of the database. */
void sq_signs(cs_backend *b, cs_signs *out);
int sq_has_news(cs_backend *b, int64_t since, int *has, csync_error *err);
int sq_subscription_get(cs_backend *b, const cs_subscription *wanted, int *found, int64_t *version,
                        csync_error *err);
int sq_subscription_put(cs_backend *b, const cs_subscription *s, csync_error *err);
int sq_subscription_drop(cs_backend *b, const char *id, csync_error *err);
int sq_subscriptions_expire(cs_backend *b, csync_error *err);

/* epoch.c - positions in the log. */
typedef struct sq_entry {
    int64_t version;
    uint32_t mark; /* its check sum */
} sq_entry;
/* The log's last entry up to `version` (a dropped entry leaves a hole); both 0: there is none (any more). */
int sq_last_entry(cs_sqlite *b, int64_t version, sq_entry *out, csync_error *err);
int sq_settle(cs_backend *b, csync_error *err);
int sq_settled(cs_backend *b, int *settled, csync_error *err);
int sq_position(cs_backend *b, cs_position *out, csync_error *err);
int sq_judge(cs_backend *b, const cs_position *position, cs_verdict *out, csync_error *err);

/* identity.c - copied files. */
int sq_remember_file(cs_sqlite *b, csync_error *err);
/* *is_copy 1: the file is not the one that csync's tables were made in. */
int sq_is_copy(cs_sqlite *b, int *is_copy, csync_error *err);
/* Gives a copy an origin of its own, unless the caller insists on its origin. Outside a transaction. */
int sq_settle_identity(cs_sqlite *b, int pinned, csync_error *err);

/* client.c - clients, floors and purge. */
int sq_client_put(cs_backend *b, const char *origin, int64_t version, int goes_there,
                  csync_error *err);
int sq_client_get(cs_backend *b, const char *origin, cs_contact *out, csync_error *err);
int sq_client_forget(cs_backend *b, const char *origin, csync_error *err);
int sq_clients(cs_backend *b, int stale_days, cs_client_visit visit, void *ctx, csync_error *err);
int sq_safe_version(cs_backend *b, int stale_days, int64_t *version, csync_error *err);
int sq_floors(cs_backend *b, cs_floors *out, csync_error *err);
int sq_purge(cs_backend *b, int64_t version, csync_purged *out, csync_error *err);

/* snapshot.c */
int sq_snapshot_page(cs_backend *b, const cs_page_request *request, csync_batch *batch,
                     cs_buf *next, csync_error *err);
int sq_snapshot_get(cs_backend *b, int64_t peer, cs_snapshot *out, csync_error *err);
int sq_snapshot_put(cs_backend *b, int64_t peer, cs_snapshot *snapshot, csync_error *err);
int sq_forget_via(cs_backend *b, int64_t peer, csync_error *err);
int sq_offer(cs_backend *b, const cs_item *item, csync_error *err);
int sq_snapshot_seen(cs_backend *b, const cs_item *item, int64_t number, csync_error *err);
int sq_snapshot_unseen(cs_backend *b, const cs_snapshot *snapshot, const unsigned char *served,
                       size_t limit, csync_batch *batch, csync_error *err);
/* *headless 1: the parked change is its row's only trace: there is no table for it, or none that has its key. */
int sq_is_headless(cs_sqlite *b, const csync_change *parked, int *headless, csync_error *err);

/* restamp.c */
int sq_stamp_again(cs_backend *b, int64_t ts, int64_t *count, csync_error *err);

/* schema.c - csync's tables; tracking; the check of the catalogue. */
int sq_init(cs_backend *b, const char *origin, csync_error *err);
int sq_check_schema(cs_backend *b, int64_t *repaired, csync_error *err);
int sq_schema_changed(cs_backend *b, int *changed, csync_error *err);
int sq_load_tables(cs_sqlite *b, csync_error *err);
int sq_track(cs_backend *b, const char *table, int capture, csync_error *err);
int sq_untrack(cs_backend *b, const char *table, csync_error *err);
int sq_create_heads(cs_sqlite *b, const cs_table *t, csync_error *err);

/* describe.c - the catalogue. CSYNC_ENOTFOUND, CSYNC_ESCHEMA. */
int sq_describe(cs_sqlite *b, const char *table, int capture, cs_table **out, csync_error *err);

/* trigger.c - the SQL of capture. */
void sq_trigger_sql(cs_buf *out, const cs_table *t);
/* The SQL expression of a row's pk_value; `prefix` is "NEW.", "OLD." or "". */
void sq_put_key_sql(cs_buf *out, const cs_table *t, const char *prefix);
void sq_drop_trigger_sql(cs_buf *out, const char *table);
int sq_trigger_sql_of(cs_backend *b, const char *table, int capture, cs_buf *out, csync_error *err);
/* 1 when the table's triggers are exactly those that sq_trigger_sql makes. */
int sq_triggers_intact(cs_sqlite *b, const cs_table *t, int *intact, csync_error *err);

/* suppress.c - writes that are not captured. */
int sq_suppress(cs_backend *b, int on, csync_error *err);
int sq_set_triggers(cs_sqlite *b, int on, csync_error *err);

/* head.c - heads of rows. All work on the key in b->key. */
int sq_head_get(cs_sqlite *b, cs_table *t, cs_head *out, int64_t *parked, csync_error *err);
/* Row or parked payload of the head; *live 0 when the row is not there. */
int sq_head_payload(cs_sqlite *b, cs_table *t, const cs_head *head, int64_t parked, cs_buf *out,
                    int *live, csync_error *err);
/* What a change says it was based on: the head itself if it is agreed on, else the change last agreed on; NULL:
 * neither. */
const char *sq_base_text(const cs_head *head, char text[CS_STAMP_SIZE]);
int sq_head_set_parked(cs_sqlite *b, cs_table *t, int64_t parked, csync_error *err);
int sq_heads_get(cs_backend *b, cs_item *items, size_t count, csync_error *err);
int sq_head_change(cs_backend *b, const cs_item *item, csync_batch *batch, csync_error *err);
int sq_agree(cs_backend *b, cs_table *table, const csync_change *change, csync_error *err);

/* The parameters of SQT_HEAD_TAKE, behind the first `skip` ones; the key is in b->key. `version`: of the log
 * entry here, or 0. */
int sq_bind_head(cs_sqlite *b, sqlite3_stmt *stmt, int skip, const cs_item *item,
                 const cs_merge *how, int64_t version, csync_error *err);

/* bulk.c - the SQ_BULK upserts items[order[0]]... of one table. *done 1: all have won and are written; 0:
 * nothing was changed. */
int sq_bulk(cs_sqlite *b, const cs_item *items, const size_t *order, const cs_merge *how, int *done,
            csync_error *err);

/* fold.c */
int sq_fold(cs_backend *b, csync_error *err);
/* The same for what foreign keys did while changes were merged; who lost a row to them goes to the audit. */
int sq_fold_captured(cs_sqlite *b, csync_error *err);
int sq_needs_fold(cs_backend *b, int has_folded, int *needed, csync_error *err);

/* log.c - the log's entries, and completing it for others to read. */
int sq_start_relay(cs_backend *b, csync_error *err);
int sq_complete_log(cs_backend *b, int all, csync_error *err);
int sq_log_top(cs_backend *b, int64_t *version, csync_error *err);
int sq_pending(cs_backend *b, int64_t since, int *found, csync_error *err);
int sq_log_change(cs_backend *b, int64_t version, csync_batch *batch, csync_error *err);
/* The key in the first columns of `head`, as the row spells it. Leaves b->key undefined. */
int sq_head_key(cs_sqlite *b, cs_table *t, sqlite3_stmt *head, cs_buf *pk, csync_error *err);
int sq_log_append(cs_sqlite *b, int64_t version, const csync_change *change, int64_t seq,
                  csync_error *err);

/* capture.c - rows that no trigger has logged. */
int sq_backfill(cs_sqlite *b, cs_table *t, csync_error *err); /* that were there before track */
int sq_recapture(cs_sqlite *b, cs_table *t, csync_error *err); /* that may have changed uncaptured */

/* Appends an entry of this replica's own. */
int sq_log_local(cs_sqlite *b, const cs_table *t, const char *pk, const char *operation,
                 const char *timestamp, csync_error *err);

/* vanished.c - rows that are gone though no trigger has said so. */
/* Logs the deletes of live heads without a row and adds how many there were to *count. `folded`: the log was folded
 * up to there before they went. */
int sq_log_vanished(cs_sqlite *b, cs_table *t, int64_t folded, int64_t *count, csync_error *err);
/* The same where counting says that REPLACE may have evicted a row; after a fold of this replica's own writes. */
int sq_find_evicted(cs_sqlite *b, cs_table *t, int64_t folded, csync_error *err);
/* Rows may have come or gone without a trace: counting says nothing. */
int sq_surplus_unknown(cs_sqlite *b, const cs_table *t, csync_error *err);
/* At the end of suppressed writes: the rows that they took away are not to be missed. */
int sq_hide_vanished(cs_sqlite *b, csync_error *err);

/* page.c - heads in order of version, as a batch. */
int sq_page(cs_backend *b, const cs_page_request *request, csync_batch *batch, csync_error *err);

/* row.c - writing rows. In both, *reason stays NULL when the row was written, and says in a word why it
 * cannot be written now (err holds the text); the transaction goes on either way. */
int sq_put_cells(cs_sqlite *b, cs_table *t, const char **reason, csync_error *err);
/* Runs a statement that is bound. */
int sq_put_rows(cs_sqlite *b, cs_table *t, sqlite3_stmt *stmt, const char **reason, csync_error *err);
int sq_delete_row(cs_sqlite *b, cs_table *t, const char **reason, csync_error *err);
/* The row of `change`, whose key is in b->key: deleted, or decoded and written. Rows that refer to a row
 * that is deleted are parked. Leaves b->key undefined. */
int sq_write_row(cs_sqlite *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err);
/* Between sq_capture(b, 1) and sq_capture(b, 0) writes are logged though the transaction is suppressed. */
int sq_capture(cs_sqlite *b, int on, csync_error *err);
/* What foreign keys did in this merge to the row in b->key needs no entry: a change writes it now, all of it. An entry as
 * new as the merge would beat edits elsewhere that the change has lost to. */
int sq_drop_acted(cs_sqlite *b, const cs_table *t, csync_error *err);
/* After a failure: fills *reason when the transaction can go on. */
int sq_refused(cs_sqlite *b, int rc, const char **reason, csync_error *err);
int sq_violated(cs_sqlite *b); /* 1 while a deferred foreign key is not satisfied */
void sq_touch(cs_table *t);

/* merge.c - deciding and writing the changes of a batch. */
int sq_merge(cs_backend *b, cs_item *items, size_t count, const cs_merge *how, csync_error *err);

/* park.c - changes that have won but cannot enter their table. All work on the key in b->key. */
/* Moves the head's change out of the table: its row and the rows below it go, they are listed in
 * _sync_parked and come back when they can. Leaves b->key undefined. */
int sq_park(cs_sqlite *b, cs_table *t, const csync_change *change, const char *reason,
            const char *message, csync_error *err);
/* A change to a row that no table tracked here can hold; its reason is static text. */
int sq_park_unknown(cs_sqlite *b, const cs_change *change, const char *reason, int relay,
                    int *status, csync_error *err);
/* Forgets the parked change of the head; parked: its id. */
int sq_park_drop(cs_sqlite *b, cs_table *t, int64_t parked, csync_error *err);
/* The same, if the head is parked at all: it has a newer change, or its row stays visible. */
int sq_park_supersede(cs_sqlite *b, cs_table *t, csync_error *err);
int sq_parked(cs_backend *b, cs_parked_visit visit, void *ctx, csync_error *err);
void sq_read_parked(cs_sqlite *b, sqlite3_stmt *stmt, csync_change *out);

/* Adds an entry to _sync_parked and gives its id; the head does not know of it yet. */
int sq_park_add(cs_sqlite *b, const csync_change *c, const char *reason, const char *message,
                int64_t *id, csync_error *err);

/* victims.c - rows that leave their table because another row does, parents before the rows that refer to them. All
 * leave b->key undefined. */
/* Adds the rows that a query gives the key columns of. */
int sq_victims_collect(cs_sqlite *b, sqlite3_stmt *stmt, cs_table *t, cs_row_list *out,
                       csync_error *err);
/* Parks the listed rows, and those that refer to them. */
int sq_victims_park(cs_sqlite *b, cs_row_list *v, const char *reason, const char *message,
                    csync_error *err);
/* Parks the rows that refer to the row in b->key, and those that refer to them. `all` 0: only where the
 * foreign key forbids that the row goes. */
int sq_park_children(cs_sqlite *b, cs_table *t, int all, csync_error *err);
int sq_park_orphans(cs_sqlite *b, csync_error *err); /* every row that refers to nothing */

/* collide.c - rows that exclude each other: the higher stamp is the visible one, on every replica alike. */
/* Writes the row of `change` (key in b->key); a row that it collides with on a UNIQUE index is parked if
 * its stamp is lower. Else as sq_write_row. */
int sq_enter_row(cs_sqlite *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err);

/* unpark.c - trying parked changes again, until none enters any more. */
int sq_unpark(cs_sqlite *b, csync_error *err);
int sq_retry_parked(cs_backend *b, csync_error *err);
int sq_parked_count(cs_backend *b, int64_t *count, csync_error *err);
int sq_any_parked(cs_sqlite *b, int *any, csync_error *err);
/* What merge needs to know of log and connection; unpark on its own needs it too. */
int sq_merge_begin(cs_sqlite *b, csync_error *err);
/* Brackets an attempt that may be undone. */
int sq_attempt(cs_sqlite *b, csync_error *err);
int sq_attempt_end(cs_sqlite *b, int undo, csync_error *err);
/* Changes that came before their table was tracked. */
int sq_adopt(cs_sqlite *b, const char *table, csync_error *err);

/* verify.c */
int sq_look(cs_backend *b, cs_table *table, const char *pk, cs_head *head, cs_row_visit visit,
            void *ctx, csync_error *err);
int sq_restore(cs_backend *b, cs_table *table, const csync_change *change, const char **reason,
               csync_error *err);

/* query.c - scan and the application's own SQL. */
int sq_scan(cs_backend *b, const cs_table *table, cs_row_visit visit, void *ctx, csync_error *err);
int sq_execute(cs_backend *b, const char *sql, const csync_value *params, size_t count,
               csync_row_fn fn, void *user_data, int64_t *changes, csync_error *err);
#endif
