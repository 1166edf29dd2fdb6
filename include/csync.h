/* csync.h - the public API of csync, and its manual.
 *
 * csync keeps databases in step: replicas are written offline and brought together by two-way sync.
 *
 * Rules that hold for every function here:
 *  - A function that can fail returns CSYNC_OK (0) or a negative code of the list below and, when `err`
 *    is not NULL, describes the failure in it. Nothing else is written on failure; results behind `out`
 *    pointers are NULL or 0. On failure the database is as it was before the call.
 *  - `X **out` is yours: release it with the matching csync_x_free or csync_close. Text behind
 *    `char **out` is yours too: release it with csync_free. A returned `const` pointer is borrowed; its
 *    comment says from whom and until when.
 *  - Text is UTF-8 and NUL-terminated unless a length stands beside it.
 *  - A replica is used by one thread at a time: calls from other threads wait, except csync_cancel,
 *    which never waits. A call on the same replica from inside one of its own callbacks returns
 *    CSYNC_EBUSY. csync calls your functions only on the thread that called csync.
 *  - Callbacks get `user_data` first and must return normally (no longjmp, no C++ exception).
 *  - Transparent structs begin with `struct_size`: set it to sizeof the struct, zero the rest; a zero
 *    field means the default. Fields are only ever appended.
 */
#ifndef CSYNC_H
#define CSYNC_H

#include <stddef.h>
#include <stdint.h>
#if defined(CSYNC_STATIC)
#define CSYNC_API
#else
#define CSYNC_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define CSYNC_VERSION_MAJOR 0
#define CSYNC_VERSION_MINOR 1
#define CSYNC_VERSION_PATCH 0

#define CSYNC_HASH_SIZE 65 /* 64 lower-case hex digits and the NUL */
#define CSYNC_ORIGIN_SIZE 65 /* an origin id: at most 64 bytes and the NUL; csync makes UUIDs */

/* ---- Codes. Never renumbered; new ones are appended. -------------------------------------------- */

enum {
    CSYNC_OK = 0,
    CSYNC_ERROR = -1, /* no code of its own; see the message */
    CSYNC_ENOMEM = -2, /* out of memory */
    CSYNC_EMISUSE = -3, /* a rule of this header is broken: NULL, closed, forked */
    CSYNC_EINVAL = -4, /* a value is malformed or out of range */
    CSYNC_ENOTFOUND = -5, /* what was named is not there */
    CSYNC_EBUSY = -6, /* database locked, a transaction is open, or called from its own callback */
    CSYNC_EDB = -7, /* the database said no; native_code is its code */
    CSYNC_ESCHEMA = -8, /* a table is missing, has no primary key, or cannot be tracked */
    CSYNC_EFOREIGNKEY = -9, /* a foreign key cannot be satisfied */
    CSYNC_EHASH = -10, /* content and hash differ; expected and actual are set */
    CSYNC_EFULLRESYNC = -11, /* the peer's log no longer leads on from our position, `actual`: it begins
                                with `version`, `expected`; 0 and "": it is another log, restored from a
                                backup. A snapshot comes first, which csync_sync does by itself */
    CSYNC_ENET = -12, /* the peer cannot be reached */
    CSYNC_EPROTO = -13, /* the peer answered what it must not */
    CSYNC_EAUTH = -14, /* the peer does not let us */
    CSYNC_ETIMEOUT = -15, /* time is up */
    CSYNC_ECANCELED = -16, /* csync_cancel was called */
    CSYNC_ECALLBACK = -17, /* your callback failed; only callbacks cause it */
    CSYNC_EUNSUPPORTED = -18, /* this build, database or interpreter cannot do it */
    CSYNC_ECLOCK = -19 /* the author's clock is too far ahead: `expected` is our time, `actual` the
                          change's. Nothing was stored; csync_sync stamps again and goes on */
};

/* Why a call failed. Owned by the caller, holds no memory, nothing to free. Start with CSYNC_ERROR_INIT. */
typedef struct csync_error {
    size_t struct_size;
    int code; /* the value the function returned */
    int native_code; /* SQLite's extended result code, or PostgreSQL's SQLSTATE as an int (MAKE_SQLSTATE), or 0 */
    int64_t version; /* the version concerned, or 0 */
    char table[130]; /* the table concerned, or "" */
    char message[512]; /* one line, no full stop: what failed, on what, and the way out */
    char expected[CSYNC_HASH_SIZE];
    char actual[CSYNC_HASH_SIZE];
} csync_error;
#define CSYNC_ERROR_INIT                                                                           \
    {                                                                                              \
        sizeof(csync_error), 0, 0, 0, "", "", "", ""                                               \
    }

/* ---- Library ------------------------------------------------------------------------------------ */

/* Version of the library, "MAJOR.MINOR.PATCH". Static text. */
CSYNC_API const char *csync_version(void);
/* Name of a code: "CSYNC_EBUSY". Static text; "CSYNC_ERROR" for an unknown one. */
CSYNC_API const char *csync_code_name(int code);

/* Memory that crosses this border. csync_malloc returns NULL when there is none; csync_free(NULL) is fine. */
CSYNC_API void *csync_malloc(size_t size);
CSYNC_API void csync_free(void *p);

/* Replaces malloc for csync's own memory (not SQLite's). Call it before anything else, from one thread. */
typedef struct csync_allocator {
    size_t struct_size;
    void *user_data;
    void *(*malloc_fn)(void *user_data, size_t size);
    void *(*realloc_fn)(void *user_data, void *p, size_t size);
    void (*free_fn)(void *user_data, void *p);
} csync_allocator;
/* NULL brings the default back. CSYNC_EMISUSE if a function is missing. */
CSYNC_API int csync_set_allocator(const csync_allocator *allocator);

enum { CSYNC_LOG_DEBUG = 1, CSYNC_LOG_INFO = 2, CSYNC_LOG_WARNING = 3, CSYNC_LOG_ERROR = 4 };
/* Gets each message of at least `min_level`, one line of UTF-8. Must not call csync. */
typedef void (*csync_log_fn)(void *user_data, int level, const char *message);
/* Process-wide. Set it before the first replica is opened; fn NULL turns logging off (the default). */
CSYNC_API void csync_set_log(csync_log_fn fn, void *user_data, int min_level);

/* csync never brings an SQLite of its own: two copies in one process break each other's file locks and
 * destroy databases (sqlite.org/howtocorrupt.html, 2.2.1). It uses the copy the process already has,
 * else the system's libsqlite3.so.0. A host that has its own tells csync where: `dl_handle` is what
 * dlopen returned for an object that SQLite's symbols are reachable from.
 * CSYNC_EUNSUPPORTED: no SQLite there, older than 3.38, or another copy is already bound. */
CSYNC_API int csync_bind_sqlite(void *dl_handle, csync_error *err);

/* ---- Replicas ----------------------------------------------------------------------------------- */

typedef struct csync csync; /* a replica: a database with csync's tables in it */

typedef struct csync_open_options {
    size_t struct_size;
    const char *origin; /* NULL: the stored origin id, or a new UUID. Else it must equal the stored one */
    int busy_timeout_ms; /* 0: 5000. How long to wait for another writer; -1: not at all */
    int foreign_keys; /* 0: enforced on csync's connection; -1: not enforced */
} csync_open_options;

/* Opens a database, makes it a replica if it is not one yet, and returns the handle.
 * `url`: a file's path, "sqlite:PATH" or ":memory:"; or "postgresql://..." as libpq reads it, or "postgresql:" and libpq's
 * keywords ("postgresql:host=db1 dbname=app", "postgresql:service=app"; what is not said comes from the environment), where
 * foreign_keys of the options is ignored.
 * CSYNC_EDB: the file cannot be opened or is no database, or the server refuses. CSYNC_EUNSUPPORTED: there is no
 * libpq. */
CSYNC_API int csync_open(csync **out, const char *url, const csync_open_options *options,
                         csync_error *err);

/* The same on the application's own live connection. csync never closes it; it must outlive the
 * replica, stay on csync's thread while csync works, and have no open transaction when csync is called
 * (else CSYNC_EBUSY). `db` is a sqlite3 *. `api` is the sqlite3_api_routines * of the SQLite copy that
 * made it; NULL: the bound copy. foreign_keys of the options is ignored: the connection's own setting holds. */
CSYNC_API int csync_open_sqlite(csync **out, void *db, const void *api,
                                const csync_open_options *options, csync_error *err);

/* The same on the application's own live PostgreSQL connection. `conn` is a PGconn *. csync never closes it; it must
 * outlive the replica, stay on csync's thread while csync works, and be idle when csync is called: with an open
 * transaction, also a failed one, or a query whose results were not read to the end the answer is CSYNC_EBUSY. What
 * csync sets it sets for its own transactions, so the connection's settings are what they were after each call; it
 * prepares no statements and listens to nothing. The connection's timeouts hold for csync's statements too. After
 * PQreset open the replica again. `library` is what dlopen returned for the copy of libpq that made the connection;
 * NULL: libpq.so.5, which is the process's own where it is linked to that. foreign_keys of the options is ignored.
 * CSYNC_EDB: it is not connected. CSYNC_EUNSUPPORTED: there is no libpq, or the server is older than 13. */
CSYNC_API int csync_open_postgres(csync **out, void *conn, void *library,
                                  const csync_open_options *options, csync_error *err);

/* Releases the replica; NULL is fine. From one of its callbacks, or while csync_sync runs on it, the close
 * is carried out when that ends. Sessions and subscriptions of a closed replica answer CSYNC_EMISUSE. */
CSYNC_API void csync_close(csync *replica);

/* Any thread, at any time before csync_close: the running call stops soon with CSYNC_ECANCELED, its open
 * batch rolled back. Without a running call it does nothing. */
CSYNC_API void csync_cancel(csync *replica);

typedef struct csync_state {
    size_t struct_size;
    char origin[CSYNC_ORIGIN_SIZE];
    int64_t max_version; /* highest version of this replica's log, 0: empty */
    int64_t last_server_version; /* pull position at the peer last synced with */
    int64_t last_push_version; /* push position at the peer last synced with */
    int64_t tables; /* tracked tables */
    int64_t parked; /* changes that wait to enter their table */
    int64_t conflicts; /* entries of the conflict audit */
} csync_state;
CSYNC_API int csync_get_state(csync *replica, csync_state *out, csync_error *err);
/* Who holds this replica's changes back: a PostgreSQL database gives out versions before their transaction commits, so what
 * was written after the first change of a transaction that is still open is given to nobody until it ends. JSON array, who
 * holds back most first; [] on SQLite: [{"pid","user","application","state","seconds","version","waiting"}]
 * pid is the server's process (for pg_terminate_backend), 0: a prepared transaction, whose name is `application`. seconds
 * since it began; nothing after `version` is given out, where `waiting` versions wait. state and seconds are null where
 * this role may not see them (pg_read_all_stats). Waits for no writer. */
CSYNC_API int csync_lag(csync *replica, char **json, csync_error *err);
/* What is wrong with the database and what helps: JSON array [{"level","subject","text","help"}], level "error" (csync cannot
 * work so, or writes are not captured), "warning" or "info"; help: a statement or advice, or "". Rights that this role lacks,
 * triggers that are off, settings that lose commits, open transactions; on SQLite damage (the whole file is read), rows
 * without a parent; tables that are gone, parked changes. Waits for no writer, changes nothing. */
CSYNC_API int csync_doctor(csync *replica, char **json, csync_error *err);

/* ---- Tracked tables ----------------------------------------------------------------------------- */

enum {
    CSYNC_CAPTURE_FULL = 1, /* a log entry holds the whole row (the default) */
    CSYNC_CAPTURE_KEYS = 2 /* a log entry holds the key; the row is read when it is sent. For
                               write-heavy tables: capture costs about half */
};
typedef struct csync_track_options {
    size_t struct_size;
    int capture; /* 0: CSYNC_CAPTURE_FULL */
} csync_track_options;

/* Captures every write to `table` from now on, by any program, through triggers in plain SQL. Rows that
 * are there already take part, as changes older than any other. Tracking a table twice is fine; other
 * options replace the earlier ones. The name is the catalogue's, exact: "Person" is not "person".
 * CSYNC_ENOTFOUND: no such table. CSYNC_ESCHEMA: no primary key, a view, a virtual table, one of
 * csync's or SQLite's own, or a row has NULL in its key. */
CSYNC_API int csync_track(csync *replica, const char *table, const csync_track_options *options,
                          csync_error *err);
/* Stops capturing and forgets the table's sync state; its rows stay. CSYNC_ENOTFOUND: not tracked. */
CSYNC_API int csync_untrack(csync *replica, const char *table, csync_error *err);
/* JSON array of the tracked tables in order of name:
 * [{"name":"note","capture":"full","key":["id"],"columns":["id","body"]}] */
CSYNC_API int csync_tables(csync *replica, char **json, csync_error *err);
/* The CREATE TRIGGER statements that track makes for `table`, which need not be tracked; `capture` as in
 * the options. */
CSYNC_API int csync_trigger_sql(csync *replica, const char *table, int capture, char **sql,
                                csync_error *err);

/* ---- Changes and batches ------------------------------------------------------------------------- */

enum { CSYNC_INSERT = 1, CSYNC_UPDATE = 2, CSYNC_DELETE = 3 };

/* One row's new state. Strings are borrowed from whatever holds the change. */
typedef struct csync_change {
    size_t struct_size;
    int64_t version; /* position in the log of the replica that it was read from; 0: none */
    int operation;
    const char *table;
    const char *pk; /* JSON object of all key columns */
    const char *payload; /* JSON object of the row; NULL for a delete */
    const char *origin; /* replica on which the change was made */
    const char *timestamp; /* YYYY-MM-DDTHH:MM:SS.mmmZ */
    int64_t seq; /* version in its origin's own log; with timestamp and origin, the stamp; 0: unknown */
    const char *base; /* in a push: "timestamp origin seq" of the change to the row last agreed on with the
                         receiver, on which this one was made; NULL: none */
} csync_change;

typedef struct csync_batch csync_batch; /* an ordered list of changes, and where it stands in a log */

/* Where a batch stands: it holds every change that is a head with from_version < version <= to_version.
 *
 * A position in a replica's log is a version and an epoch: an opaque text that its log gave out with the version
 * and that tells it whether the log is still the one that was read (it is not once the replica was restored
 * from a backup). Whoever keeps a version keeps the epoch with it and gives both back. Texts are borrowed from
 * the batch. */
typedef struct csync_batch_info {
    size_t struct_size;
    const char *origin; /* replica whose log it was read from; NULL: unknown */
    int64_t from_version;
    int64_t to_version;
    int has_more; /* the log goes on after to_version */
    char hash[CSYNC_HASH_SIZE]; /* SHA-256 of the changes; "": not given */
    const char *epoch; /* of to_version; NULL: none */
    const char *from_epoch; /* of from_version: the position that this batch continues; NULL: none */
    int has_peer; /* the next two are known */
    int64_t peer_version; /* how far its maker has the log of whoever it is for */
    const char *peer_epoch; /* of peer_version; NULL: none */
    const char *floor; /* timestamp: its maker may have forgotten deletes up to here; NULL: none */
    const char *cursor; /* a page of a snapshot: where the next one goes on, "": the last; NULL: a page of the log */
    const char *from_cursor; /* the cursor that it answers; NULL: a page of the log */
    const char *key; /* idempotency key of a push: the receiver answers a repetition as it did the first time */
    int compare; /* of a push: refuse a change (CSYNC_CONFLICT) whose base is not the receiver's row */
    const char *tables; /* of the last page of a snapshot: JSON array of all tables that it is of; in others nothing was
                           deleted; NULL: none is known */
    const char *heard; /* JSON array of texts "ORIGIN VERSION TS": its maker heard of all deletes up to there in that
                          replica's log; TS not 0: from a snapshot, so who reads its maker's log does not hear of
                          those up to TS (milliseconds) that were forgotten; NULL: none */
    const char *copied_from; /* of a push: lines "VERSION ORIGIN" of the files that its maker is a copy of; NULL: none */
} csync_batch_info;

/* An empty batch. */
CSYNC_API int csync_batch_new(csync_batch **out, csync_error *err);
/* Copies `change` to the end. timestamp may be any RFC 3339 text and is stored in UTC with three
 * digits. CSYNC_EINVAL: a field is missing or malformed; an insert or update without payload. */
CSYNC_API int csync_batch_add(csync_batch *batch, const csync_change *change, csync_error *err);
CSYNC_API size_t csync_batch_count(const csync_batch *batch);
/* Borrowed from the batch until it is changed or freed; NULL past the end. */
CSYNC_API const csync_change *csync_batch_at(const csync_batch *batch, size_t i);
CSYNC_API int csync_batch_get_info(const csync_batch *batch, csync_batch_info *out);
/* Sets where the batch stands; the text is copied. A hash that is not "" is kept and checked by apply. */
CSYNC_API int csync_batch_set_info(csync_batch *batch, const csync_batch_info *info,
                                   csync_error *err);
/* SHA-256 over `{version}:{table}:{pk}:{operation}:{payload or null}\n` of each change, in hex. */
CSYNC_API int csync_batch_hash(const csync_batch *batch, char hex[CSYNC_HASH_SIZE], csync_error *err);
/* The wire form: {"changes":[{"version","tableName","pkValue","operation","payload","origin",
 * "timestamp","seq"}],"fromVersion","toVersion","hasMore","hash","origin"}. `length` may be NULL. */
CSYNC_API int csync_batch_to_json(const csync_batch *batch, char **json, size_t *length,
                                  csync_error *err);
/* Reads the wire form: keys in camelCase or PascalCase, operations as text of any case or 0, 1, 2,
 * unknown fields ignored. Everything is checked. CSYNC_EINVAL names the byte or the change at fault. */
CSYNC_API int csync_batch_from_json(csync_batch **out, const char *json, size_t length,
                                    csync_error *err);
CSYNC_API void csync_batch_free(csync_batch *batch);

/* What is asked of a peer's log. */
typedef struct csync_fetch {
    size_t struct_size;
    int64_t since; /* changes after this version */
    int limit; /* at most so many changes; 0: 1000 */
    int64_t max_bytes; /* stop after about so many bytes of changes, but not before one; 0: 4 MiB */
    const char *epoch; /* of `since`, as the last page gave it; NULL: none */
    const char *origin; /* who asks; it counts as a client that has everything up to `since`. NULL: nobody */
    const char *cursor; /* a page of a snapshot: where the last one ended, "": the beginning; NULL: of the log */
    const char *const *tables; /* only changes of these; the position then leads on for the same tables alone */
    size_t table_count; /* 0: of every table */
} csync_fetch;

/* A page of this replica's log: the changes after `since` that no later one has replaced, in order of
 * version. With a cursor a page of a snapshot: every row's winning change, deletes too, in order of table
 * (parents first) and key, and the position that the log stands at; whoever has all pages goes on reading the
 * log from the position that the first of them named.
 * The first call on a replica makes it log what it applies, so that others can sync with it.
 * CSYNC_EFULLRESYNC: the log does not lead on from `since`: it is trimmed (csync_purge), this replica was restored from
 * a backup, or `since` was reached with other `tables`. CSYNC_EINVAL: `since` with its epoch is no position of this log. */
CSYNC_API int csync_changes(csync *replica, const csync_fetch *fetch, csync_batch **out,
                            csync_error *err);

/* ---- Apply and sync ------------------------------------------------------------------------------ */

enum {
    CSYNC_LAST_WRITE_WINS = 0,
    CSYNC_SERVER_WINS = 1, /* the peer's row */
    CSYNC_CLIENT_WINS = 2, /* this replica's row */
    CSYNC_CUSTOM = 3 /* on_conflict decides */
};
enum { CSYNC_KEEP_LOCAL = 1, CSYNC_TAKE_REMOTE = 2, CSYNC_DELETE_ROW = 3, CSYNC_MERGE = 4 };

/* The answer of a resolver. */
typedef struct csync_decision {
    size_t struct_size;
    int kind; /* one of the four above */
    char *payload; /* CSYNC_MERGE: the whole row as a JSON object, from csync_malloc; csync frees it.
                      Columns that it leaves out keep the local row's values */
} csync_decision;

/* Called inside the apply transaction when a remote change meets a local one and neither saw the other.
 * `base` is the row both started from, or NULL where it is not known. The three are borrowed for the
 * call. Returns CSYNC_OK, or CSYNC_ECALLBACK to stop: the batch is rolled back. */
typedef int (*csync_conflict_fn)(void *user_data, const csync_change *local,
                                 const csync_change *remote, const csync_change *base,
                                 csync_decision *decision);

enum { CSYNC_PULLING = 1, CSYNC_PUSHING = 2 };
typedef struct csync_progress {
    size_t struct_size;
    int phase; /* CSYNC_PULLING or CSYNC_PUSHING */
    int64_t changes; /* done so far in this phase */
    int64_t bytes; /* of changes, so far in this phase */
    int64_t total; /* expected in this phase; 0: not known */
} csync_progress;
/* Called every few rows and after each batch; must be quick. Not CSYNC_OK stops the sync with
 * CSYNC_ECALLBACK; the open batch is rolled back, the batches before it stay. */
typedef int (*csync_progress_fn)(void *user_data, const csync_progress *progress);

enum { CSYNC_BOTH = 0, CSYNC_PULL = 1, CSYNC_PUSH = 2 };

typedef struct csync_sync_options {
    size_t struct_size;
    int direction; /* CSYNC_BOTH: pull, then push */
    int batch_size; /* changes per batch; 0: 1000, at most 10000 */
    int64_t batch_bytes; /* bytes per batch; 0: 4 MiB */
    int max_retry_passes; /* of rows without their parent, before they are parked; 0: 3; -1: not at all */
    int strategy;
    csync_conflict_fn on_conflict; /* required for CSYNC_CUSTOM */
    csync_progress_fn on_progress;
    void *user_data;
    int full_resync; /* where the peer's log does not lead on from our position. 0: push what is pending, then
                        merge a snapshot; -1: stop with CSYNC_EFULLRESYNC */
    const char *const *tables; /* csync_apply: a batch with a change of any other is refused (CSYNC_EAUTH) */
    size_t table_count; /* 0: every table may be written */
    const char *only_origin; /* csync_apply: refused (CSYNC_EAUTH) is what others changed and would win here; NULL: nothing */
} csync_sync_options;

typedef struct csync_result {
    size_t struct_size;
    int64_t pulled; /* changes that won here */
    int64_t pushed; /* changes that the peer took (won there) */
    int64_t duplicates; /* changes that were known already */
    int64_t lost; /* changes that an existing one beat, on either side */
    int64_t conflicts; /* concurrent edits that were decided */
    int64_t parked; /* changes that wait here now for what they need, also from earlier syncs */
    int64_t rejected; /* changes that were refused; see the outcome or the log */
    int64_t batches;
    int64_t bytes; /* of changes, both ways */
    int64_t repaired; /* tables whose triggers or schema had changed and were repaired */
    int64_t ahead_ms; /* how far the newest pulled change was ahead of this replica's clock, where that is more
                         than 5 minutes; else 0. One of the clocks is wrong */
    int64_t resyncs; /* snapshots that had to be merged because the peer's log did not lead on */
} csync_result;

/* What became of each change of a pushed batch, and how far the receiver now is. */
typedef struct csync_outcome csync_outcome;
enum {
    CSYNC_APPLIED = 1,
    CSYNC_DUPLICATE = 2, /* known already */
    CSYNC_LOST = 3, /* an existing change beats it: `winner` */
    CSYNC_PARKED = 4, /* it won, but cannot enter its table yet: `reason` */
    CSYNC_REJECTED = 5, /* refused: `reason` */
    CSYNC_CONFLICT =
        6 /* of a push that compares: the receiver's row is not the change's base: `winner` */
};
typedef struct csync_outcome_entry {
    size_t struct_size;
    int status;
    const char *reason; /* "" or why; borrowed from the outcome */
    const csync_change *winner; /* CSYNC_LOST, CSYNC_CONFLICT: the receiver's row; else NULL; borrowed from the
                                   outcome */
} csync_outcome_entry;
/* One entry for each change of the batch, in its order; 0 when the batch was dropped whole because it
 * does not continue the receiver's position. */
CSYNC_API size_t csync_outcome_count(const csync_outcome *outcome);
CSYNC_API int csync_outcome_at(const csync_outcome *outcome, size_t i, csync_outcome_entry *out);
/* The version up to which the receiver has the sender's log now. */
CSYNC_API int64_t csync_outcome_position(const csync_outcome *outcome);
/* The epoch of that position, borrowed from the outcome; NULL: none. */
CSYNC_API const char *csync_outcome_epoch(const csync_outcome *outcome);
CSYNC_API int csync_outcome_to_json(const csync_outcome *outcome, char **json, csync_error *err);
CSYNC_API int csync_outcome_from_json(csync_outcome **out, const char *json, size_t length,
                                      csync_error *err);
CSYNC_API void csync_outcome_free(csync_outcome *outcome);

/* Applies a batch in one transaction: each change that beats the row's present one is written and
 * logged; what cannot enter its table is parked. A batch with an origin and a position is a push: it
 * counts only if it continues the position that this replica has for that origin, and moves it.
 * `options`, `outcome` and `result` may be NULL. CSYNC_EHASH: hash and content differ, nothing is applied. */
CSYNC_API int csync_apply(csync *replica, const csync_batch *batch, const csync_sync_options *options,
                          csync_outcome **outcome, csync_result *result, csync_error *err);

/* Sync with another replica in this process. Repeatable after any failure: complete batches stay. */
CSYNC_API int csync_sync(csync *replica, csync *peer, const csync_sync_options *options,
                         csync_result *result, csync_error *err);

/* A peer that your own functions reach. Both run on the calling thread, outside any transaction; they may
 * use the replica. */
typedef struct csync_remote {
    size_t struct_size;
    const char *name; /* under which positions are kept; NULL: "remote" */
    void *user_data;
    /* Answers with a page of the peer's log, as csync_changes or csync_batch_from_json makes it. A batch
     * without info counts as complete when it holds fewer changes than asked for. */
    int (*fetch)(void *user_data, const csync_fetch *fetch, csync_batch **out, csync_error *err);
    /* Delivers `batch` (borrowed). *out may stay NULL: all taken. */
    int (*send)(void *user_data, const csync_batch *batch, csync_outcome **out, csync_error *err);
    /* Answers as csync_digest does at the peer; *answer comes from csync_malloc. NULL: csync_verify_remote is not
     * possible. */
    int (*digest)(void *user_data, const char *request, char **answer, csync_error *err);
} csync_remote;
/* fetch may be NULL for CSYNC_PUSH, send for CSYNC_PULL. */
CSYNC_API int csync_sync_remote(csync *replica, const csync_remote *remote,
                                const csync_sync_options *options, csync_result *result,
                                csync_error *err);

/* ---- A sync, step by step -------------------------------------------------------------------------
 * For hosts with an event loop of their own. The session does no I/O: `next` says what it needs, the
 * host does it in its own time and feeds the answer. Nothing is locked between two calls. */

typedef struct csync_session csync_session;
enum {
    CSYNC_STEP_FETCH = 1, /* get a page of the peer's log for `fetch`, answer with csync_session_page */
    CSYNC_STEP_SEND = 2, /* deliver `batch`, answer with csync_session_outcome */
    CSYNC_STEP_DONE = 3,
    CSYNC_STEP_SNAPSHOT = 4 /* like CSYNC_STEP_FETCH, but of the peer's snapshot: `fetch` has a cursor */
};
typedef struct csync_step {
    size_t struct_size;
    int kind;
    csync_fetch fetch;
    const csync_batch *batch; /* borrowed from the session until the next call on it */
} csync_step;
/* `peer` is the name under which positions are kept; another replica's origin, or a name of your own. */
CSYNC_API int csync_session_new(csync_session **out, csync *replica, const char *peer,
                                const csync_sync_options *options, csync_error *err);
CSYNC_API int csync_session_next(csync_session *session, csync_step *step, csync_error *err);
CSYNC_API int csync_session_page(csync_session *session, const csync_batch *page, csync_error *err);
/* outcome NULL: all taken. */
CSYNC_API int csync_session_outcome(csync_session *session, const csync_outcome *outcome,
                                    csync_error *err);
/* The peer failed at the step with `why` (csync_changes or csync_apply there gave it). Where the session knows a
 * way on (CSYNC_EFULLRESYNC, CSYNC_ECLOCK) it takes it and returns CSYNC_OK; else it returns why->code. */
CSYNC_API int csync_session_refused(csync_session *session, const csync_error *why, csync_error *err);
CSYNC_API int csync_session_result(const csync_session *session, csync_result *out);
CSYNC_API void csync_session_free(csync_session *session);

/* ---- Subscriptions ---------------------------------------------------------------------------------
 * Who subscribes is told of changes, whoever makes them: this process, another one, a sync. The log is the queue:
 * a slow subscriber costs nothing, and a row that changed a thousand times since it last looked comes once, as it
 * is now. Changes come in order of version and at least once. There is no thread and, on SQLite, no polling: the
 * descriptor becomes readable when the database's files are written. Linux only; a network file system does not
 * tell of other machines' writes. A PostgreSQL server is asked, with one short query in intervals that grow from
 * 1 to 250 ms with the time since the last change: its writers are not slowed down by telling of their commits. */

typedef struct csync_subscription csync_subscription;

typedef struct csync_subscribe_options {
    size_t struct_size;
    const char *table; /* NULL: all tracked tables */
    const char *pk; /* JSON object of the key columns: only that row; NULL: every row. Needs a table */
    int resume; /* 0: what happens from now on (or after what an earlier subscription of this id has seen);
                   1: what happened after `since` */
    int64_t since;
    const char *id; /* 1 to 64 bytes: its position is kept in the database, so that the same id goes on there in
                       another process or at another time; one process at a time. NULL: a new UUID, position not
                       kept */
    int limit; /* changes per batch; 0: 1000, at most 10000 */
    int64_t expires_ms; /* how long it is remembered in _sync_subscriptions after its last use, which is noted
                           at most once a minute; 0: an hour, with
                           an id of your own 30 days */
} csync_subscribe_options;

/* From now on the replica logs what it applies, as for csync_changes. `options` may be NULL.
 * CSYNC_ENOTFOUND: the table is not tracked. CSYNC_EINVAL: pk is not exactly the table's key columns, `since` is
 * beyond the log, or the id is that of a subscription to something else. CSYNC_ERROR: the system has no more
 * descriptors or inotify instances (each subscription needs three and one). */
CSYNC_API int csync_subscribe(csync_subscription **out, csync *replica,
                              const csync_subscribe_options *options, csync_error *err);
/* The next changes, or *out NULL: there are none yet. Waits for them until `timeout_ms` is over (0: not at all;
 * -1: for ever); ends earlier, with NULL, when a signal handler has run. A batch is never empty; its to_version
 * is where the subscription stands then. That a batch was handled is said by asking for the next: what was not is
 * given again to whoever resumes the id.
 * While it waits, other threads may use the replica. It never waits for another writer: what cannot be read yet
 * comes as soon as it can. CSYNC_EMISUSE: replica or subscription is closed, also by another thread meanwhile.
 * CSYNC_ECANCELED: csync_cancel on the replica. CSYNC_EBUSY: another thread waits on this subscription.
 * CSYNC_EFULLRESYNC: the log was trimmed beyond its position; `version` is where it begins now: read what there
 * is, and subscribe again. */
CSYNC_API int csync_subscription_next(csync_subscription *subscription, int timeout_ms,
                                      csync_batch **out, csync_error *err);
/* For poll, epoll and event loops: readable when there may be changes, until csync_subscription_next with
 * timeout 0 has answered NULL. Borrowed until the subscription is closed; only ever wait for it. A commit whose
 * disk needs more than half a minute is seen with the next one. Without a file (":memory:") there is nothing to
 * watch: it becomes readable when a csync call on the replica ends, so what the application wrote through its own
 * connection is seen then, or by the next csync_subscription_next. On PostgreSQL it becomes readable when a csync
 * call on the replica ends and whenever it is time to ask the server, which csync_subscription_next does. */
CSYNC_API int csync_subscription_fd(const csync_subscription *subscription);
/* Any thread: the csync_subscription_next that waits, or else the next one, answers without waiting on. */
CSYNC_API void csync_subscription_wake(csync_subscription *subscription);
/* Borrowed from the subscription. */
CSYNC_API const char *csync_subscription_id(const csync_subscription *subscription);
/* The version up to which it has given the log out: the `since` to resume from. Any thread. */
CSYNC_API int64_t csync_subscription_version(const csync_subscription *subscription);
/* Ends it; NULL is fine. Any thread, also while another waits in csync_subscription_next; before or after
 * csync_close. An id of your own is remembered until it expires, another is forgotten. */
CSYNC_API void csync_subscription_close(csync_subscription *subscription);
/* Forgets an id of your own and its position; of one that is not known there is nothing to forget. */
CSYNC_API int csync_unsubscribe(csync *replica, const char *id, csync_error *err);

/* ---- Clients and tombstones ------------------------------------------------------------------------
 * Whoever asks this replica for changes under its origin, or was pushed to, is a client, with the version up to
 * which it has this replica's log. Deletes have to be remembered until every client knows of them. A client that
 * was silent for 90 days is stale: it no longer holds anything up, and has to take a snapshot when it is back. A
 * peer that this replica pushes to is never stale; csync_forget_client gives it up. */

/* Counts `origin` as a client that has this replica's log up to `version`. CSYNC_EINVAL: no origin, or beyond
 * the end of the log. */
CSYNC_API int csync_register_client(csync *replica, const char *origin, int64_t version,
                                    csync_error *err);
/* CSYNC_ENOTFOUND: no such client. */
CSYNC_API int csync_forget_client(csync *replica, const char *origin, csync_error *err);
/* JSON array in order of version: [{"origin","version","lastSync","created","stale":false}]. `stale_days` 0: 90. */
CSYNC_API int csync_clients(csync *replica, int stale_days, char **json, csync_error *err);
/* The version up to which every client that is not stale has this log; 0: there is none. */
CSYNC_API int csync_safe_version(csync *replica, int stale_days, int64_t *version, csync_error *err);

typedef struct csync_purge_options {
    size_t struct_size;
    int stale_days; /* 0: 90 */
} csync_purge_options;
typedef struct csync_purged {
    size_t struct_size;
    int64_t version; /* the safe version: the log begins with it now */
    int64_t entries; /* of the log that were dropped */
    int64_t tombstones; /* deleted rows that were forgotten */
} csync_purged;
/* Drops the log's entries, and forgets deleted rows, before the safe version. Rows stay. Without clients nothing
 * is dropped. `options` and `out` may be NULL. */
CSYNC_API int csync_purge(csync *replica, const csync_purge_options *options, csync_purged *out,
                          csync_error *err);

/* ---- Conflicts, parked changes, hashes ------------------------------------------------------------ */

/* Which of two changes to the same row wins: CSYNC_KEEP_LOCAL or CSYNC_TAKE_REMOTE. Last-write-wins
 * orders by timestamp, origin, seq, delete before row, canonical payload. CSYNC_EINVAL: CSYNC_CUSTOM,
 * different rows, or a malformed change. */
CSYNC_API int csync_resolve(const csync_change *local, const csync_change *remote, int strategy,
                            int *decision, csync_error *err);
/* JSON array of the conflict audit after entry `since_id`, oldest first, at most `limit` (0: 1000):
 * [{"id","at","table","pk","strategy","decision","loser":{change},"winner":{change}}] */
CSYNC_API int csync_conflicts(csync *replica, int64_t since_id, int limit, char **json,
                              csync_error *err);
/* JSON array of the changes that won but cannot enter their table yet:
 * [{"table","pk","payload","origin","timestamp","reason","message","since"}] */
CSYNC_API int csync_parked(csync *replica, char **json, csync_error *err);

/* SHA-256 of all tracked tables: for each in order of name `name\n`, then each row in order of key as
 * canonical JSON and `\n`. Equal for equal data. */
CSYNC_API int csync_hash(csync *replica, char hex[CSYNC_HASH_SIZE], csync_error *err);
/* Compares two hashes in hex, of either case. CSYNC_EHASH with both in `err` when they differ. */
CSYNC_API int csync_verify_hash(const char *expected, const char *actual, csync_error *err);
/* Canonical JSON (RFC 8785: keys in UTF-16 order, its escaping and number form), but integers keep all
 * their digits. CSYNC_EINVAL: not JSON. */
CSYNC_API int csync_canonical_json(const char *json, size_t length, char **out, csync_error *err);

/* ---- Comparing with a peer -------------------------------------------------------------------------
 * Tables are compared by digests of buckets of rows, narrower and narrower where they differ: what travels grows with
 * the differences, not with the tables. Each round costs both sides a scan of the table. */

/* Answers what a peer that compares itself with this replica asks: JSON for JSON, over any wire.
 * {} -> {"tables":[{"table","rows","digest","shape"}]}; {"tables":[name]}: of these alone
 * {"table","prefixes":[hex],"digits":1 or 2} -> {"buckets":{prefix:digest}}: of the rows whose key's SHA-256 begins
 *     with one of the prefixes (equally long, ascending), by so many digits more; empty buckets are left out
 * {"table","prefixes":[hex]} -> {"rows":{pk:digest}}
 * {"table","keys":[pk],"payload":bool} -> {"states":[{"head","timestamp","origin","seq","digest","payload"}]}: what
 *     head and table hold, of the keys in their order; perhaps only of the first, when that is much already
 * CSYNC_EINVAL: malformed, or more than one answer may hold. CSYNC_ENOTFOUND: the table is not tracked. */
CSYNC_API int csync_digest(csync *replica, const char *request, char **answer, csync_error *err);

enum {
    CSYNC_VERIFYING = 3
}; /* a phase of csync_progress: `changes` counts differences, `total` is 0 */

typedef struct csync_verify_options {
    size_t struct_size;
    int repair; /* 1: where the stamps are equal and the content is not, take the peer's row */
    int limit; /* report at most so many rows; all are counted, and repaired. 0: 1000 */
    csync_progress_fn on_progress; /* after each round */
    void *user_data;
} csync_verify_options;

/* Names the rows of tables tracked on both sides that are not the same, in *report:
 * {"equal":bool,"tables":[{"table","rows","peerRows","differs","missingHere","missingThere","note"}],
 *  "rows":[{"table","pk","kind","local":{"head","timestamp","origin","seq"},"remote":{...},"explained","repaired",
 *  "reason"}],"found":n,"repaired":n,"compared":{"rounds":n,"bytes":n}}
 * note: "", "tracked here only", "tracked there only", "other columns" (then its rows are not compared).
 * kind: "differs", "missing here", "missing there". head: "live", "deleted", "parked", "none".
 * explained: "pending sync" and "parked": nothing is wrong; "not captured": no head knows of a row; "wrong there": only
 *     the peer's row is not what its head says; "": the stamps are equal and the content is not.
 * equal: what was found, before any repair. reason: why a row was not repaired.
 * A repair writes the row under the head as it is: nothing is stamped, logged or captured, no other row changes, and
 * rows whose stamps differ are left to the next sync. A row that is being written meanwhile may be named as pending.
 * CSYNC_EPROTO: the peer's answers are malformed. */
CSYNC_API int csync_verify(csync *replica, csync *peer, const csync_verify_options *options,
                           char **report, csync_error *err);
/* The same with a peer that remote->digest reaches; fetch and send may be NULL. CSYNC_EUNSUPPORTED: it has no digest
 * function. */
CSYNC_API int csync_verify_remote(csync *replica, const csync_remote *remote,
                                  const csync_verify_options *options, char **report,
                                  csync_error *err);

/* ---- SQL on csync's connection --------------------------------------------------------------------- */

enum { CSYNC_NULL = 0, CSYNC_INTEGER = 1, CSYNC_REAL = 2, CSYNC_TEXT = 3, CSYNC_BLOB = 4 };
typedef struct csync_value {
    int type;
    int64_t integer;
    double real;
    const void *data; /* text (not NUL-terminated) or blob */
    size_t length; /* of data, in bytes */
} csync_value;
/* One row; names and values are borrowed for the call. Not CSYNC_OK stops with CSYNC_ECALLBACK. */
typedef int (*csync_row_fn)(void *user_data, int columns, const char *const *names,
                            const csync_value *values);
/* Runs one statement. Its writes are captured like anybody's. `fn` NULL: rows are dropped. *changes (may
 * be NULL) is the number of rows inserted, updated or deleted. CSYNC_EINVAL: more than one statement, or
 * a wrong number of parameters. */
CSYNC_API int csync_execute(csync *replica, const char *sql, const csync_value *params, size_t count,
                            csync_row_fn fn, void *user_data, int64_t *changes, csync_error *err);

/* Opens a transaction in which this connection's writes are not captured; other connections' are. Until
 * the end only csync_execute works (else CSYNC_EBUSY). CSYNC_EMISUSE: already begun. */
CSYNC_API int csync_suppress_begin(csync *replica, csync_error *err);
/* Ends it: commits, or rolls back when `commit` is 0. CSYNC_EMISUSE: not begun. */
CSYNC_API int csync_suppress_end(csync *replica, int commit, csync_error *err);

/* ---- The REST API, without sockets ------------------------------------------------------------------
 * A request in, a response out, for any server to call: a WSGI or ASGI application, nginx's Lua, your own loop. The routes:
 * docs/openapi.yaml, which GET /openapi.json answers with. What a request does wrong is answered by a problem document
 * (RFC 9457) with the status that it means; its "code", "version", "expected" and "actual" are the csync_error. */

typedef struct csync_api csync_api;
typedef struct csync_api_options {
    size_t struct_size;
    int64_t max_body; /* bytes; a larger body is refused (413). 0: 16 MiB */
} csync_api_options;
enum {
    CSYNC_MAY_READ = 1, /* changes, snapshots, digests, state; register as a client */
    CSYNC_MAY_WRITE = 2 /* push */
};
/* What the bearer of a token may do. Of several grants with the same token the first that covers a request counts. */
typedef struct csync_grant {
    size_t struct_size;
    const char *token_hash; /* SHA-256 of the token, in lower-case hex */
    const char *client; /* it speaks for this origin alone, and pushes only what it made; NULL: for anybody (a relay) */
    const char *database; /* NULL: every one */
    int may; /* sum of CSYNC_MAY_... */
    int64_t expires_ms; /* milliseconds since 1970, from when on it counts no more; 0: never */
    const char *const *tables; /* their changes alone it is given, and may push */
    size_t table_count; /* 0: every table */
} csync_grant;
typedef struct csync_header {
    const char *name, *value;
} csync_header;
typedef struct csync_request {
    size_t struct_size;
    const char *method; /* "GET" */
    const char *path; /* "/sync/changes" */
    const char *query; /* as it came, without '?'; NULL: none */
    const csync_header *headers;
    size_t header_count;
    const char *body; /* need not end in a NUL */
    size_t body_length;
    int local; /* 1: it comes from this machine; what a proxy has forwarded does not, whatever this says */
} csync_request;
typedef struct csync_response {
    size_t struct_size;
    int status;
    const csync_header *headers;
    size_t header_count;
    const char *body;
    size_t body_length;
} csync_response;

/* An API without databases and tokens. */
CSYNC_API int csync_api_new(csync_api **out, const csync_api_options *options, csync_error *err);
/* Serves `replica`, which has to outlive the API, as db=NAME (1 to 64 of A-Z a-z 0-9 _ . -). CSYNC_EINVAL: not so, or taken. */
CSYNC_API int csync_api_add(csync_api *api, const char *name, csync *replica, csync_error *err);
/* From the first grant on all that is of a database needs a token that may do it; else only local requests are answered. */
CSYNC_API int csync_api_grant(csync_api *api, const csync_grant *grant, csync_error *err);
/* Answers a request. Any number of threads at a time, once databases and grants are there: those on the same replica
 * wait for each other. Fails only with CSYNC_EMISUSE and CSYNC_ENOMEM. */
CSYNC_API int csync_api_handle(const csync_api *api, const csync_request *request,
                               csync_response **out, csync_error *err);
CSYNC_API void csync_response_free(csync_response *response); /* NULL is fine */
CSYNC_API void csync_api_free(csync_api *api);

/* Content codings, for transports. csync_codings: those on this machine (Debian: libzstd1, zlib1g), preferred first: "zstd, gzip".
 * CSYNC_EUNSUPPORTED: not one of them. CSYNC_EINVAL: malformed, truncated, or more than `max` bytes. Any thread. */
CSYNC_API const char *csync_codings(void);
CSYNC_API int csync_encode(const char *coding, const void *data, size_t length, char **out,
                           size_t *out_length, csync_error *err);
CSYNC_API int csync_decode(const char *coding, const void *data, size_t length, size_t max,
                           char **out, size_t *out_length, csync_error *err);

/* ---- The server -------------------------------------------------------------------------------------
 * The REST API over HTTP(S) and server-sent events (docs/rest.md), on threads and handles of its own, by libmicrohttpd12. */
typedef struct csync_server csync_server;
typedef struct csync_served {
    const char *name, *url; /* as in csync_api_add and csync_open; not ":memory:" */
} csync_served;
typedef struct csync_server_options {
    size_t struct_size;
    const char *listen; /* "HOST:PORT"; port 0: a free one. NULL: "127.0.0.1:5000" */
    const csync_served *databases;
    size_t database_count;
    const csync_grant *grants; /* none, and no tokens: requests from this machine are answered, but of no web page */
    size_t grant_count;
    const char *tokens; /* a file of tokens: csync_token_add. An empty one lets nobody in */
    const char *tls_cert, *tls_key; /* PEM files; both or none */
    int behind_proxy; /* 1: a proxy does TLS and tells of its clients in X-Forwarded-For; no request is local */
    const char *const *origins; /* whose pages may ask (CORS), as browsers send them: "https://app.example" */
    size_t origin_count;
    int64_t max_body; /* bytes; 0: 16 MiB */
    int readers; /* threads that read, per database; 0: 2. One more writes; on PostgreSQL readers + 2 do both */
    int queue; /* requests that wait for a database's readers, and for its writer; 0: 64. One more gets 503 */
    /* 0: 4096, or half of what the process may open; 256, any number behind a proxy; of event streams: as connections */
    int max_connections, max_per_address, max_streams;
    int rate; /* requests a second of one client, twice as many at once; 0: 500; -1: any number. Others get 429 */
    int header_ms, idle_ms; /* for a request's headers; between requests. 0: 10 seconds; a minute */
    int body_ms; /* in each such time a body has to bring a byte for each millisecond; 0: 10 seconds */
    int log_fd; /* a line for each request, without queries and tokens; 0: none */
    const char *config; /* a JSON file that fills in what is left open: docs/rest.md; NULL: none */
} csync_server_options;
/* An address that other machines can reach needs grants or tokens, and TLS or behind_proxy (else CSYNC_EINVAL).
 * CSYNC_EUNSUPPORTED: no libmicrohttpd. CSYNC_ENET: the address is taken. CSYNC_ENOTFOUND: a file is not there. */
CSYNC_API int csync_server_start(csync_server **out, const csync_server_options *options,
                                 csync_error *err);
CSYNC_API const char *csync_server_url(const csync_server *server); /* "http://127.0.0.1:5000"; borrowed */
/* Reads tokens and certificate again and ends all event streams, which clients resume. Any thread. Fails: all is as before. */
CSYNC_API int csync_server_reload(csync_server *server, csync_error *err);
/* Accepts nobody any more, lets requests finish for at most ten seconds, and frees it. NULL is fine. */
CSYNC_API void csync_server_stop(csync_server *server);
typedef struct csync_token_options {
    size_t struct_size;
    const char *client, *database; /* as in csync_grant */
    int may; /* sum of CSYNC_MAY_...; 0: both */
    int64_t expires_ms; /* as in csync_grant */
    const char *const *tables; /* the same */
    size_t table_count;
} csync_token_options;
/* Makes a token and writes its hash to the file, which only its owner may read. Nobody can find *token again. */
CSYNC_API int csync_token_add(const char *file, const csync_token_options *options, char **token,
                              csync_error *err);
CSYNC_API int csync_token_list(const char *file, char **json, csync_error *err); /* a JSON array */
/* CSYNC_ENOTFOUND: no token has this id, which is what stands between a token's underscores. */
CSYNC_API int csync_token_revoke(const char *file, const char *id, csync_error *err);
CSYNC_API int csync_program(int argc, char **argv); /* csync serve, csync token: the exit status */

#ifdef __cplusplus
}
#endif
#endif
