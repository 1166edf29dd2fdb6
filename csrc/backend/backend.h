/* backend.h - what sync/ asks of a database: one table of functions.
 *
 * All calls are made under the replica's lock and fail with a csync code and a filled err. No slot is
 * optional: a missing ability is CSYNC_EUNSUPPORTED. Calls between begin and commit are one transaction;
 * whoever began it rolls back after a failure. */
#ifndef CS_BACKEND_H
#define CS_BACKEND_H
#include <stdatomic.h>

#include "codec/value.h"
#include "csync.h"
#include "model/change.h"
#include "model/epoch.h"
#include "model/heard.h"
#include "model/lineage.h"
#include "model/scope.h"
#include "model/table.h"

typedef struct cs_backend cs_backend;

/* What is known of a row's winning change. */
typedef struct cs_head {
    int found;
    int64_t version; /* of its log entry here; 0: not logged */
    int64_t via; /* the peer that it came from; 0: made here, or offered to all */
    cs_stamp stamp; /* origin borrowed from the backend until it is closed */
    int deleted, parked;
    int agreed; /* a peer has exactly this change */
    int own; /* made here, also before this file was copied from another replica's */
    int has_base;
    cs_stamp base; /* the change last agreed on before this one */
    int64_t base_version; /* its log entry here; 0: none */
} cs_head;

/* One change on its way into the database. */
typedef struct cs_item {
    const cs_change *change;
    cs_table *table; /* NULL: not tracked here */
    cs_head head; /* filled by heads_get */
    int forgotten; /* the row was deleted here or elsewhere, and that is forgotten */
    int force; /* take it whatever the head is: a resolver said so */
    int local; /* a decision made here: logged as this replica's own, its seq is the new version */
    int status; /* 0: not decided yet; CSYNC_APPLIED ... CSYNC_REJECTED */
    const char *reason; /* static text: "foreign key", "unique", "check", "not null", "type", ... */
    char message[160];
} cs_item;

typedef struct cs_merge {
    int64_t via; /* id of the peer that the changes come from; 0: nobody in particular */
    int agreed; /* that peer has them: they are agreed on with it */
    int relay; /* log what wins */
    int more; /* another batch follows: parked changes may wait for it */
    int passes; /* retry passes for missing parents */
    int (*tick)(void *ctx, int64_t done, csync_error *err); /* every few rows; a code stops the merge */
    void *ctx;
} cs_merge;

/* How far this replica and a peer are with each other's logs. */
typedef struct cs_peer {
    int64_t id; /* 0: not stored yet */
    cs_position pulled; /* this replica has the peer's log up to here, asked for or pushed by the peer */
    cs_position pushed; /* the peer has this replica's log up to here, as far as this replica knows */
    int64_t heard; /* ... and has heard of every delete in it up to this version; */
    int64_t heard_ts; /* what the peer made itself of what was taken has no later timestamp */
    int asked; /* this replica asks it for changes */
    int unheard; /* it was given every row, but not the deletes that are forgotten here; what it has is not
                    read yet */
} cs_peer;

/* What this replica's log says of a position that somebody has in it. */
typedef enum cs_verdict {
    CS_GOOD, /* the log leads on from it */
    CS_TRIMMED, /* it did, but has been trimmed since */
    CS_FORKED, /* the log is not the one that was read: this replica was restored from a backup */
    CS_FALSE /* no log gives out such a position */
} cs_verdict;

/* How far back this replica remembers. */
typedef struct cs_floors {
    int64_t log; /* entries of the log up to this version are gone */
    int64_t tombstones; /* and deleted rows whose entry was up to this version are forgotten, */
    int64_t tombstone_ts; /* none of which has a later timestamp; 0: none is forgotten */
} cs_floors;

/* A snapshot of a peer that is being read. */
typedef struct cs_snapshot {
    int64_t number; /* of all snapshots read here; 0: none is being read */
    cs_position at; /* where the peer's log goes on after it */
    int64_t floor_ts; /* the peer may have forgotten deletes up to here */
    int64_t known; /* entries of this replica's log up to here the peer has had; not stored */
    cs_buf cursor; /* where it goes on */
} cs_snapshot;

/* A client: whoever reads this replica's log. */
typedef struct cs_client {
    const char *origin;
    int64_t version;
    const char *last_sync, *created;
    int stale;
} cs_client;

/* What a replica remembers of its dealings with another as its client. */
typedef struct cs_contact {
    int64_t silence_ms; /* since it was heard of; INT64_MAX: never */
    int goes_there; /* this replica pushes to it */
} cs_contact;

/* An entry of the conflict audit. */
typedef struct cs_conflict {
    int64_t id;
    const char *at; /* when: timestamp text; filled on reading */
    const char *strategy, *decision;
    const csync_change *loser, *winner;
} cs_conflict;

/* A parked change. */
typedef struct cs_parked {
    const csync_change *change;
    const char *reason, *message, *since;
} cs_parked;

/* A transaction that is still open and holds back what was logged after it began to write. */
typedef struct cs_holder {
    int64_t pid; /* 0: nobody's any more, a prepared transaction */
    const char *user, *application, *state; /* NULL: this role may not see it */
    int64_t seconds; /* it is open; -1: this role may not see it */
    int64_t version; /* nobody is given what comes after it */
    int64_t waiting; /* versions that wait for it */
} cs_holder;

/* Something that a person should know. */
typedef struct cs_advice {
    const char *level; /* "error", "warning", "info" */
    const char *subject, *text;
    const char *help; /* what to do; "": nothing, or the text says it */
} cs_advice;

typedef int (*cs_advice_visit)(void *ctx, const cs_advice *advice, csync_error *err);
typedef int (*cs_holder_visit)(void *ctx, const cs_holder *holder, csync_error *err);
typedef int (*cs_conflict_visit)(void *ctx, const cs_conflict *conflict, csync_error *err);
typedef int (*cs_parked_visit)(void *ctx, const cs_parked *parked, csync_error *err);
typedef int (*cs_client_visit)(void *ctx, const cs_client *client, csync_error *err);
typedef int (*cs_row_visit)(void *ctx, const cs_value *values, size_t count, csync_error *err);

typedef struct cs_page_request {
    int64_t since;
    int limit;
    size_t max_bytes;
    int64_t skip_via; /* leave out what came from this peer; 0: nothing */
    int bases; /* changes get their base */
    const char *cursor; /* of a snapshot: after which row, "": from the first */
    cs_scope scope; /* of which tables */
} cs_page_request;

/* So many versions a page of some tables passes over at most, so that it ends in time also where it finds nothing. */
enum { CS_PAGE_SPAN = 50000 };

/* A subscription that somebody has, or had. */
typedef struct cs_subscription {
    const char *id;
    const char *table; /* NULL: all */
    const char *pk; /* canonical JSON; NULL: every row */
    int64_t version; /* the log was seen up to here */
    int64_t expires_ms; /* from now */
} cs_subscription;

/* By what a commit of another program is noticed. */
typedef struct cs_signs {
    const char *files[2]; /* that it writes to; borrowed until close; NULL for each that there is not */
    int poll_ms; /* by nothing but looking, at most this long after it; 0: no other program can commit, or the files tell */
} cs_signs;

typedef struct cs_backend_ops {
    const char *name;
    void (*close)(cs_backend *b);
    void (*interrupt)(cs_backend *b); /* any thread */
    /* CSYNC_EBUSY when the application has a transaction open on this connection. */
    int (*ready)(cs_backend *b, csync_error *err);

    int (*begin)(cs_backend *b, int write, csync_error *err);
    int (*commit)(cs_backend *b, csync_error *err);
    void (*rollback)(cs_backend *b); /* safe when nothing is open */

    /* Creates csync's tables where they are missing; `origin` NULL: the stored one or a new one. */
    int (*init)(cs_backend *b, const char *origin, csync_error *err);
    /* Brings b->tables up to date with the catalogue; repairs triggers. Adds to *repaired. In a write
     * transaction. */
    int (*check_schema)(cs_backend *b, int64_t *repaired, csync_error *err);
    /* 1 when check_schema has something to do: asked in a read transaction. */
    int (*schema_changed)(cs_backend *b, int *changed, csync_error *err);
    int (*track)(cs_backend *b, const char *table, int capture, csync_error *err);
    int (*untrack)(cs_backend *b, const char *table, csync_error *err);
    int (*trigger_sql)(cs_backend *b, const char *table, int capture, cs_buf *sql, csync_error *err);

    int (*suppress)(cs_backend *b, int on, csync_error *err);
    /* Brings the heads up to the top of the log. */
    int (*fold)(cs_backend *b, csync_error *err);
    /* In a read transaction. `has_folded`: this call did so already; what was written since may be left out of the log
     * that this transaction sees, or writers that never pause would hold the call up for ever. */
    int (*needs_fold)(cs_backend *b, int has_folded, int *needed, csync_error *err);
    /* Gives every head that is not in the log an entry there, and logs applied changes from now on. */
    int (*start_relay)(cs_backend *b, csync_error *err);
    /* Gives the heads of rows from before track an entry; `all` 0: not those that came from a peer. */
    int (*complete_log)(cs_backend *b, int all, csync_error *err);
    int (*log_top)(cs_backend *b, int64_t *version, csync_error *err);
    /* 1 when there may be local changes that the log holds after `since`, or does not hold yet. */
    int (*pending)(cs_backend *b, int64_t since, int *found, csync_error *err);
    /* Appends the heads after request->since to the batch and sets its positions. */
    int (*page)(cs_backend *b, const cs_page_request *request, csync_batch *batch, csync_error *err);

    /* Appends the heads after request->cursor in order of table, parents first, and key; `next` gets the cursor
     * behind the last of them, "" when there are no more. CSYNC_EINVAL: no cursor of this backend's. */
    int (*snapshot_page)(cs_backend *b, const cs_page_request *request, csync_batch *batch,
                         cs_buf *next, csync_error *err);

    /* Begins the log's epoch of this handle where it has none yet; in a write transaction. */
    int (*settle)(cs_backend *b, csync_error *err);
    int (*settled)(cs_backend *b, int *settled, csync_error *err);
    /* The end of the log, with its epoch. */
    int (*position)(cs_backend *b, cs_position *out, csync_error *err);
    int (*judge)(cs_backend *b, const cs_position *position, cs_verdict *out, csync_error *err);
    int (*floors)(cs_backend *b, cs_floors *out, csync_error *err);
    /* Drops the log before its last entry up to `version`, and the deleted rows in it. That entry stays: it proves to whoever
     * has the log up to `version` that it is the one he has read. */
    int (*purge)(cs_backend *b, int64_t version, csync_purged *out, csync_error *err);

    int (*heads_get)(cs_backend *b, cs_item *items, size_t count, csync_error *err);
    /* The row's winning change (also of a parked row), appended to the batch. */
    int (*head_change)(cs_backend *b, const cs_item *item, csync_batch *batch, csync_error *err);
    /* The log entry of that version, if it is still there and holds a row. */
    int (*log_change)(cs_backend *b, int64_t version, csync_batch *batch, csync_error *err);
    /* The peer has this very change: the head is agreed on if it is this change, else its base is. */
    int (*agree)(cs_backend *b, cs_table *table, const csync_change *change, csync_error *err);
    /* Decides and writes every item with status 0, in an order that foreign keys allow. */
    int (*merge)(cs_backend *b, cs_item *items, size_t count, const cs_merge *how, csync_error *err);
    /* Tries again the parked changes whose table, or a table that they refer to, was written. Suppressed. */
    int (*retry_parked)(cs_backend *b, csync_error *err);
    /* Raises the clock: local stamps made from now on are above `ts`. */
    int (*raise_clock)(cs_backend *b, int64_t ts, csync_error *err);
    /* A timestamp for a change made now: above every stamp seen. */
    int (*stamp_now)(cs_backend *b, int64_t *ts, csync_error *err);
    int (*wall_clock)(cs_backend *b, int64_t *ts, csync_error *err);
    /* Local changes that no peer has and whose timestamp is above `ts` are stamped again, just above their base,
     * and the clock goes back as far as it may. Suppressed and folded. */
    int (*stamp_again)(cs_backend *b, int64_t ts, int64_t *count, csync_error *err);

    int (*peer_get)(cs_backend *b, const char *peer, cs_peer *out, csync_error *err);
    int (*peer_put)(cs_backend *b, const char *peer, cs_peer *value, csync_error *err);
    /* Visits which deletes of others this replica has heard of: of the peers that it asks, and from snapshots. */
    int (*heard)(cs_backend *b, cs_heard_visit visit, void *ctx, csync_error *err);
    int (*heard_put)(cs_backend *b, const cs_heard *heard, csync_error *err); /* from a snapshot */
    int (*other_peers)(cs_backend *b, const char *peer, int *found, csync_error *err);
    /* What was answered to the last push of a peer; *found 0: its key was another. */
    int (*reply_get)(cs_backend *b, int64_t peer, const char *key, cs_buf *reply, int *found,
                     csync_error *err);
    int (*reply_put)(cs_backend *b, int64_t peer, const char *key, const char *reply,
                     csync_error *err);

    /* The snapshot that is being read from a peer; out->cursor is appended to. */
    int (*snapshot_get)(cs_backend *b, int64_t peer, cs_snapshot *out, csync_error *err);
    /* number 0: it is over; -1: begins one and gives it its number. */
    int (*snapshot_put)(cs_backend *b, int64_t peer, cs_snapshot *snapshot, csync_error *err);
    /* What came from the peer counts as neither its own nor logged: it may have lost it. Complete the log afterwards. */
    int (*forget_via)(cs_backend *b, int64_t peer, csync_error *err);
    /* The head of the item's row (heads_get) is the newest entry of the log, for everybody. Fold afterwards. */
    int (*offer)(cs_backend *b, const cs_item *item, csync_error *err);
    /* The head of the item's row is in the snapshot. */
    int (*snapshot_seen)(cs_backend *b, const cs_item *item, int64_t number, csync_error *err);
    /* Appends to the batch, as deletes, at most `limit` live heads that are not in the snapshot, that a peer once
     * had, and that are not newer than floor_ts: the peer has deleted them and forgotten it. Only of tables whose
     * served[i] is set. */
    int (*snapshot_unseen)(cs_backend *b, const cs_snapshot *snapshot, const unsigned char *served,
                           size_t limit, csync_batch *batch, csync_error *err);

    /* `goes_there` 1: this replica pushes to it, so it is never stale; once said, it holds. */
    int (*client_put)(cs_backend *b, const char *origin, int64_t version, int goes_there,
                      csync_error *err);
    int (*client_get)(cs_backend *b, const char *origin, cs_contact *out, csync_error *err);
    int (*client_forget)(cs_backend *b, const char *origin, csync_error *err); /* CSYNC_ENOTFOUND */
    int (*clients)(cs_backend *b, int stale_days, cs_client_visit visit, void *ctx, csync_error *err);
    int (*safe_version)(cs_backend *b, int stale_days, int64_t *version, csync_error *err);
    int (*state)(cs_backend *b, csync_state *out, csync_error *err);
    /* Who holds the log back, the one that holds back most first. */
    int (*lag)(cs_backend *b, cs_holder_visit visit, void *ctx, csync_error *err);
    /* What is wrong with the database, or will be. In a reading transaction; the tables need not be loaded. */
    int (*doctor)(cs_backend *b, cs_advice_visit visit, void *ctx, csync_error *err);

    int (*conflict_add)(cs_backend *b, const cs_conflict *conflict, csync_error *err);
    int (*conflicts)(cs_backend *b, int64_t since, int limit, cs_conflict_visit visit, void *ctx,
                     csync_error *err);
    int (*parked_count)(cs_backend *b, int64_t *count, csync_error *err);
    int (*parked)(cs_backend *b, cs_parked_visit visit, void *ctx, csync_error *err);
    /* Every row of a table in order of its key, values in the table's column order. */
    int (*scan)(cs_backend *b, const cs_table *table, cs_row_visit visit, void *ctx,
                csync_error *err);
    /* A row's head, and the row itself, as scan gives it, if it is there. CSYNC_EINVAL: `pk` is no key of the
     * table. */
    int (*look)(cs_backend *b, cs_table *table, const char *pk, cs_head *head, cs_row_visit visit,
                void *ctx, csync_error *err);
    /* Makes the row what `change` says and nothing else: no head, no log, no other row. *reason stays NULL, or
     * says in a word why the row is as it was. In a write transaction, suppressed. */
    int (*restore)(cs_backend *b, cs_table *table, const csync_change *change, const char **reason,
                   csync_error *err);
    int (*execute)(cs_backend *b, const char *sql, const csync_value *params, size_t count,
                   csync_row_fn fn, void *user_data, int64_t *changes, csync_error *err);

    /* ---- subscriptions ---- */
    void (*signs)(cs_backend *b, cs_signs *out);
    /* Cheap, and outside of a transaction: *has 0: a reader would find nothing in the log after `since`. */
    int (*has_news)(cs_backend *b, int64_t since, int *has, csync_error *err);
    /* The stored subscription of wanted->id; its version. CSYNC_EINVAL: it is to another table or row. */
    int (*subscription_get)(cs_backend *b, const cs_subscription *wanted, int *found,
                            int64_t *version, csync_error *err);
    int (*subscription_put)(cs_backend *b, const cs_subscription *s, csync_error *err);
    int (*subscription_drop)(cs_backend *b, const char *id, csync_error *err);
    int (*subscriptions_expire)(cs_backend *b, csync_error *err);
} cs_backend_ops;

/* First member of each backend's own struct. */
struct cs_backend {
    const cs_backend_ops *ops;
    cs_table **tables; /* tracked, in order of name */
    size_t table_count;
    char origin[CSYNC_ORIGIN_SIZE];
    int64_t copied_at; /* where the log ended when this became a copy of another's file; 0: it is none */
    char copied_from[CS_LINEAGE_SIZE];
    int relay; /* applied changes are logged; known within a transaction */
    const atomic_int *cancelled; /* set while the call is to stop; NULL until there is a handle */
    int impatient; /* do not wait for another writer */
};

/* `same`: the log still is what it was when the position was given out. `asof`: where it ended then; INT64_MAX: unknown. A
 * position whose proof is dropped is as good as trimmed: the log may be another one up to there. */
cs_verdict cs_position_judge(const cs_position *position, int same, int64_t asof,
                             const cs_floors *floors);
/* Sets status, reason (static text) and message of an item that is refused or parked. */
void cs_item_refuse(cs_item *item, int status, const char *reason, const char *message);
/* It was made here, or in the file that this replica is a copy of before it was copied. */
int cs_backend_made(const cs_backend *b, const csync_change *change);
/* What was read up to `since` was of other tables than may be read now. CSYNC_EFULLRESYNC */
int cs_backend_other_tables(const cs_backend *b, int64_t since, csync_error *err);
/* The tracked tables, parents before their children; cs_free(*out). */
int cs_backend_ranked(const cs_backend *b, cs_table ***out, csync_error *err);
/* Fills order[*n] with the indexes of the items that are to be merged: parents before their children, then the deletes
 * the other way round. */
int cs_items_order(const cs_item *items, size_t count, size_t *order, size_t *n, csync_error *err);
/* The content of the item's change against its head's, which has the same stamp: *order as memcmp gives it, 0 also where
 * they cannot be compared. */
typedef int (*cs_compare_content)(void *ctx, const cs_item *item, const cs_head *head, int *order,
                                  csync_error *err);
/* The item's change has not beaten `head`. Equal stamps are one change, unless a copied database made two of it: then
 * delete before row and the canonical payload decide. Sets the status; *wins 1: it takes the head's place after all, and
 * the status is 0. */
int cs_item_settle(cs_item *item, const cs_head *head, cs_compare_content compare, void *ctx,
                   int *wins, csync_error *err);
/* Appends the head of the item's row as a change. `payload` NULL: there is no row. CSYNC_ENOTFOUND: no head. */
int cs_batch_add_head(csync_batch *batch, const cs_item *item, const cs_head *head,
                      const char *payload, csync_error *err);
/* `stored`, which becomes `wanted` or a new origin where it is ""; *fresh 1 then. CSYNC_EINVAL: it is another. */
int cs_origin_settle(char stored[CSYNC_ORIGIN_SIZE], const char *wanted, int *fresh,
                     csync_error *err);
cs_table *cs_backend_table(const cs_backend *b, const char *name, size_t len); /* NULL: not tracked */

/* Uses the copy of SQLite that `dl_handle` leads to; NULL: the process's own, else the system's. */
int cs_sqlite_bind(void *dl_handle, csync_error *err);
int cs_sqlite_open(cs_backend **out, const char *path, const csync_open_options *options,
                   csync_error *err);
int cs_sqlite_attach(cs_backend **out, void *db, const void *api, const csync_open_options *options,
                     csync_error *err);
/* libpq is opened at the first call. CSYNC_EUNSUPPORTED: it is not there. */
int cs_postgres_open(cs_backend **out, const char *url, const csync_open_options *options,
                     csync_error *err);
int cs_postgres_attach(cs_backend **out, void *conn, void *library,
                       const csync_open_options *options, csync_error *err);
#endif
