/* sim.h - a world of replicas, the network between them, and the oracle that watches.
 *
 * The production code runs on real SQLite databases; with --mixed on PostgreSQL databases beside them. What it takes from
 * outside is injected: files and time by a VFS (disk.c) or by libpq's functions (postgres.c), random numbers by a
 * hook, the transport by the steps of a session (net.c). All chance comes from the seed, so a seed is a run, to the
 * byte. */
#ifndef SIM_H
#define SIM_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sqlite3.h>

#include "csync.h"

enum {
    MAX_REPLICAS = 14, /* 8 at the start; copies and newcomers join */
    MAX_LINKS = 64,
    MAX_STEPS = 160,
    MAX_CHANGES = 1024,
    MAX_POOL = 24,
    MAX_ORIGINS = 64,
    TABLES = 5,
    KEYS = 4, /* of each table */
    ALL_KEYS = TABLES * KEYS
};

/* ---- rng.c: chance ---- */

typedef struct rng {
    uint64_t state;
} rng;
rng rng_of(uint64_t seed);
uint64_t rng_next(rng *r);
unsigned rng_below(rng *r, unsigned n);
int rng_range(rng *r, int from, int to); /* both included */
int rng_chance(rng *r, unsigned percent);

/* ---- disk.c: the files of all replicas, in memory; their clock ---- */

typedef struct disk_image disk_image; /* a copy of a replica's files */

void disk_init(void); /* once: becomes SQLite's default VFS */
void disk_wipe(void); /* forgets every file; none is open */
enum { TEMPLATE = MAX_REPLICAS }; /* the number of a disk that is no replica's */
void disk_set_time(int64_t ms); /* what 'now' is from here on */
void disk_set_entropy(uint64_t seed);
/* The replica's process dies at its nth write, sync, truncation or deletion from now; `power` keeps of what was
 * written since the last sync only a part. 0: never. */
void disk_arm(int replica, int nth, int power, uint64_t seed);
void disk_file_id(const char *path, char out[64]); /* what tells a file from its copies */
int disk_operation(int replica); /* one that counts, also a statement for PostgreSQL; 0: the process has died */
int disk_power(int replica); /* what it was armed with */
int disk_dead(int replica); /* it did: every call on its files fails */
void disk_revive(int replica); /* all connections are closed */
disk_image *disk_save(int replica);
void disk_restore(int replica, const disk_image *image); /* no connection is open */
void disk_image_free(disk_image *image);
void disk_remove(int replica); /* its files; none is open */
int disk_image_read(const disk_image *image, sqlite3 *into); /* a memory database gets its content */

/* ---- the oracle's view ---- */

/* A committed change to a row, by a user or by csync in a user's place. */
typedef struct change {
    int key; /* table * KEYS + number */
    int64_t ts, seq;
    int origin;
    int deleted;
    int64_t v; /* the row's column v, which is new in every edit */
    int step; /* in which it was made */
    int decided; /* a strategy saw it and chose another */
    int shared; /* another replica received it */
    int returns; /* a delete of its row was forgotten before anybody but its author had it, so it may come back */
    unsigned char ancestors[MAX_CHANGES / 8]; /* what its author saw of the row */
} change;

/* ---- the world ---- */

enum { MIXED = 1, EVERY_EDIT = 2 }; /* strategies: any; only those under which no edit is lost */
enum topology { STAR, CHAIN, RING, TREE, MESH, TOPOLOGIES };

typedef struct config {
    int replicas, topology;
    int push; /* clients push and pull; else both sides pull */
    int strategies; /* in a star clients have strategies of their own */
    int tables; /* mask of those that are written to */
    int made; /* of those that exist */
    int postgres; /* mask of replicas: the rest is SQLite */
    int action; /* of doc's foreign key: see schema.c */
    int cycle; /* folders lie in folders */
    int follows; /* documents follow a unique value of a tag */
    int keys; /* rows that may exist in each table */
    int skew, clock_steps; /* milliseconds */
    int faults; /* mask of enum fault */
    int steps;
    int rows_before; /* rows are there before track */
    int schema_change;
    int events; /* mask of enum chance_event */
    int heavy; /* many of them */
} config;

enum fault {
    FAULT_LOSS = 1,
    FAULT_DELAY = 2,
    FAULT_REPEAT = 4,
    FAULT_CRASH = 8,
    FAULT_POWER = 16,
    FAULT_DAMAGE = 32
};

/* What else may happen to replicas. */
enum chance_event {
    EVENT_PURGE = 1,
    EVENT_RESTORE = 2,
    EVENT_COPY = 4,
    EVENT_NEWCOMER = 8,
    EVENT_EDGE = 16,
    EVENT_STALE = 32
};

typedef struct replica {
    int index;
    char path[16];
    int memory, wal;
    int postgres;
    int copied; /* a PostgreSQL database that found its origin by itself */
    int attached; /* csync works on the application's connection */
    int64_t skew;
    csync *handle;
    sqlite3 *app; /* the application's connection */
    char origin[CSYNC_ORIGIN_SIZE];
    int opened; /* times */
    int64_t seen; /* log entries that the oracle has read */
    int head[ALL_KEYS]; /* the model's: the greatest change received of each row; -1: none */
    int strategy;
    int has_column; /* the new one */
    int capture;
    disk_image *backup;
    int saved; /* there is a backup */
    int backup_head[ALL_KEYS];
    int64_t backup_seen;
    int backup_column;
    /* the oracle's queries */
    sqlite3_stmt *log, *unfolded, *position, *heads[TABLES];
} replica;

typedef struct edge {
    int from, to; /* replicas: who starts, with whom */
    int push; /* both directions; else it only pulls */
    csync_session *session;
    int strategy; /* of the session */
    int refused; /* the peer said no, and the session has another way */
} edge;

enum { PAGE = 1, PUSH = 2 };
typedef struct message {
    int kind, link;
    char *json;
} message;

enum step_kind {
    WRITE,
    SYNC,
    DELIVER,
    CLOCK,
    REOPEN,
    COLUMN,
    PURGE,
    BACKUP,
    RESTORE,
    COPY,
    NEWCOMER,
    EDGE,
    DAYS
};
typedef struct step {
    enum step_kind kind;
    uint64_t seed; /* of all that it draws, so that other steps may be left out */
    int skip;
} step;

typedef struct world {
    uint64_t seed;
    config config;
    step steps[MAX_STEPS];
    replica replicas[MAX_REPLICAS];
    int count;
    edge links[MAX_LINKS];
    int link_count;
    message pool[MAX_POOL];
    int pool_count;
    change changes[MAX_CHANGES];
    int change_count;
    char origins[MAX_ORIGINS][CSYNC_ORIGIN_SIZE];
    int origin_count;
    int64_t now; /* ms, before skew */
    int64_t next_v;
    int at; /* the step that runs */
    int faults; /* as in config; 0 once they have stopped */
    int trace; /* print events */
    FILE *record; /* events are written there; NULL: nowhere */
    uint64_t hash; /* of all events */
    char finding[600]; /* "": none */
    int held[ALL_KEYS]; /* the greatest change of each row that somebody had when the faults stopped */
    int forgotten[ALL_KEYS]; /* a delete of the row was */
    int twins[ALL_KEYS]; /* two changes of the row have the same stamp */
    int restored; /* a replica was: what it alone had is gone */
    int purged; /* deletes may be forgotten */
} world;

/* run.c */
void world_plan(world *w, uint64_t seed); /* draws config and steps */
extern int with_postgres; /* some replicas are PostgreSQL databases */
void world_run(world *w); /* fills finding and hash; may be called again */
const char *step_name(enum step_kind kind);

/* An event: hashed, and printed when tracing. */
void event(world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The first finding stays. `kind` is one word: diverged, lost, unrest, ... */
void finding(world *w, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* replica.c */
void replica_create(world *w, int index, rng *r);
int replica_open(world *w, replica *r);
int replica_open_app(replica *r);
void replica_close(world *w, replica *r); /* sessions that it started too */
void replica_recover(world *w, replica *r); /* it died: opened again */
void replica_clock(const world *w, const replica *r); /* from here on it runs */
void replica_origin(const world *w, const replica *r, char out[40]); /* its first */

/* database.c: a replica's database, whichever it is */
enum { SQL_DONE, SQL_REFUSED, SQL_FAILED }; /* REFUSED: by a constraint */
int replica_sql(replica *r, const char *sql); /* by the application's connection */
const char *replica_why(replica *r); /* the last of these failed */
int replica_in_transaction(replica *r);
typedef struct rows {
    sqlite3_stmt *stmt;
    int kept; /* it is prepared for the next time */
    struct pg_result *result;
    int at;
} rows;
/* `kept`: where the prepared statement stays; NULL: nowhere. `param`: what $1 is; NULL: there is none. */
rows ask(world *w, replica *r, sqlite3_stmt **kept, const char *sql, const char *param);
int next_row(rows *q);
const char *row_text(rows *q, int column); /* NULL for NULL */
int64_t row_number(rows *q, int column);
int row_columns(rows *q);
const char *row_column_name(rows *q, int column);
void end_rows(rows *q);
int64_t ask_number(world *w, replica *r, const char *sql); /* the first value; -1: there is none */

/* postgres.c: PostgreSQL databases */
void postgres_init(const char *keywords); /* libpq's, of a private server; once */
int postgres_create(world *w, replica *r); /* opens it too */
void postgres_url(const replica *r, char *out, size_t size);
void postgres_clock(const replica *r, int64_t ms);
void postgres_save(world *w, const replica *r); /* its content; the last time counts */
void postgres_restore(world *w, const replica *r);
int postgres_copy(world *w, const replica *r,
                  replica *copy); /* `copy` is filled but for its database; opens it */
void postgres_has_column(const replica *r);
int postgres_sql(replica *r, const char *sql);
const char *postgres_why(const replica *r);
int postgres_in_transaction(const replica *r);
struct pg_result *postgres_ask(world *w, replica *r, const char *sql, const char *param);

/* schema.c */
extern const char *const table_names[TABLES];
/* Its tables, tracked; csync is open. */
void schema_create(world *w, replica *r);
void table_sql(const config *c, const replica *r, int table, char *out, size_t size);
const char *action_sql(const config *c); /* of doc's foreign key */
const char *follows_sql(const config *c); /* ",COLUMN": doc's that follows a tag; "": none */
void forget_templates(void); /* of databases: rules have changed */
void schema_write(world *w, replica *r, rng *g); /* one random transaction */
void schema_add_column(world *w, replica *r);
void key_where(int table, int n, char *out, size_t size);
int key_of(const char *table, const char *pk); /* -1: none of ours */
const char *key_text(int key); /* "note 1" */

/* net.c */
void net_advance(world *w, int link, int steps, rng *g);
void net_finish(world *w, int link);
void net_drop(world *w, edge *l);
void net_deliver(world *w, rng *g);
void net_settle(world *w, rng *g); /* what is still under way arrives or is lost */
void net_free(world *w);

/* oracle.c */
enum {
    CERTAIN = 1,
    PERHAPS = 2
}; /* the batch was taken; it was taken if the crash came late enough */
/* The replica has done something: reads what it has committed, and compares its heads with the model's.
 * batch: what it was given; strategy: under which. */
void oracle_observe(world *w, replica *r, const csync_batch *batch, const csync_outcome *outcome,
                    int taken, int strategy);
/* Before and after a batch is given to it: what does not continue its position must not be taken. */
int64_t oracle_position(world *w, replica *r, const csync_batch *batch);
void oracle_continues(world *w, replica *r, const csync_batch *batch, int64_t position);
void oracle_winners(world *w, replica *r, const csync_outcome *outcome, int taken, int strategy);
void oracle_forgot(world *w, replica *r); /* it was purged */
void oracle_hold(world *w); /* the faults have stopped */
void oracle_decided(world *w, const csync_change *loser);
void oracle_conflict(world *w, const csync_change *local, const csync_change *remote);
void oracle_page(world *w, replica *r, const csync_batch *batch, const char *what);
void oracle_close(replica *r); /* its queries */
void oracle_rows_before(world *w, replica *r); /* that were there before track */
int oracle_beats(const world *w, int a, int b);
/* oracle_end.c: all is quiet now. */
void oracle_end(world *w);
uint64_t oracle_positions(world *w); /* changes while anything moves */

/* shrink.c */
void shrink(world *w, int seconds);
#endif
