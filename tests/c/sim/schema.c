/* schema.c - the tables that replicas sync, and what their users do to them.
 *
 * Every table has a column v, which each edit sets to a number that no other edit uses: so the oracle knows
 * whose content a row shows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { NOTE, TAG, FOLDER, DOC, PAIR };
const char *const table_names[TABLES] = {"note", "tag", "folder", "doc", "pair"};

static const char *const actions[] = {"ON DELETE CASCADE",
                                      "ON DELETE SET NULL",
                                      "ON DELETE NO ACTION",
                                      "ON DELETE RESTRICT",
                                      "DEFERRABLE INITIALLY DEFERRED",
                                      "ON DELETE CASCADE ON UPDATE CASCADE"};

const char *action_sql(const config *c)
{
    return actions[c->action];
}

const char *follows_sql(const config *c)
{
    return !c->follows     ? ""
           : c->action % 2 ? ",u INTEGER REFERENCES tag(u) ON UPDATE CASCADE"
                           : ",u INTEGER REFERENCES tag(u) ON DELETE SET NULL ON UPDATE CASCADE";
}

/* PostgreSQL checks a circle of keys late only where it is told so. */
void table_sql(const config *c, const replica *r, int table, char *out, size_t size)
{
    switch (table) {
    case NOTE:
        snprintf(out, size,
                 "CREATE TABLE note(id INTEGER PRIMARY KEY, v INTEGER NOT NULL, body TEXT)");
        break;
    case TAG:
        snprintf(out, size,
                 "CREATE TABLE tag(name TEXT PRIMARY KEY, u INTEGER UNIQUE, v INTEGER NOT NULL)");
        break;
    case FOLDER:
        snprintf(out, size,
                 "CREATE TABLE folder(id INTEGER PRIMARY KEY, up INTEGER%s, v INTEGER NOT NULL)",
                 !c->cycle     ? ""
                 : r->postgres ? " REFERENCES folder(id) DEFERRABLE"
                               : " REFERENCES folder(id)");
        break;
    case DOC:
        snprintf(out, size,
                 "CREATE TABLE doc(id INTEGER PRIMARY KEY, folder INTEGER REFERENCES folder(id) %s,"
                 " v INTEGER NOT NULL CHECK(v>=0)%s)",
                 action_sql(c), follows_sql(c));
        break;
    default:
        snprintf(out, size,
                 "CREATE TABLE pair(a INTEGER, b TEXT, v INTEGER NOT NULL, PRIMARY KEY(a,b))%s",
                 r->postgres ? "" : " WITHOUT ROWID");
    }
}

static void fail(world *w, const replica *r, const char *what, const char *why)
{
    if (!disk_dead(r->index))
        finding(w, "error", "%s on replica %d: %s", what, r->index, why);
}

static void create(world *w, replica *r)
{
    csync_track_options options = {sizeof options, r->capture};
    csync_error err = CSYNC_ERROR_INIT;
    char sql[300];

    if (replica_open_app(r) != SQLITE_OK)
        return;
    for (int t = 0; t < TABLES; t++) {
        if (!(w->config.made >> t & 1))
            continue;
        table_sql(&w->config, r, t, sql, sizeof sql);
        if (replica_sql(r, sql) != SQL_DONE)
            fail(w, r, sql, replica_why(r));
    }
    if (w->config.rows_before)
        (void)replica_sql(r, "INSERT INTO note VALUES(1,1,'old'),(2,1,'old')");
    if (replica_open(w, r) != CSYNC_OK)
        return;
    for (int t = 0; t < TABLES; t++)
        if (w->config.made >> t & 1 &&
            csync_track(r->handle, table_names[t], &options, &err) != CSYNC_OK)
            fail(w, r, "csync_track", err.message);
}

/* Parsing a schema again and again is what a run would spend its time on: databases of the same kind are copies
 * of one that is made once. */
static disk_image *images[2][32][6][2][2][2];

void forget_templates(void)
{
    memset(images, 0, sizeof images);
}

static disk_image *template_of(world *w, int capture)
{
    const config *c = &w->config;
    disk_image **image = /* the same whichever run makes it */
        &images[capture == CSYNC_CAPTURE_KEYS][c->made][c->action][c->cycle][c->rows_before][c->follows];
    replica r = {.index = TEMPLATE, .capture = capture, .attached = 1};

    if (!*image) {
        snprintf(r.path, sizeof r.path, "r%d", TEMPLATE);
        disk_set_entropy(0);
        create(w, &r);
        replica_close(w, &r);
        *image = disk_save(TEMPLATE);
        disk_remove(TEMPLATE);
        disk_set_entropy(w->seed);
    }
    return *image;
}

/* The copy becomes a replica of its own, as if it had been made anew. */
static void rename_origin(world *w, replica *r)
{
    char sql[400], id[64] = "", origin[40];

    if (!r->memory)
        disk_file_id(r->path, id);
    replica_origin(w, r, origin);
    snprintf(sql, sizeof sql,
             "UPDATE _sync_origins SET origin='%s' WHERE id=1; DELETE FROM _sync_epochs;"
             "UPDATE _sync_state SET value='%s' WHERE key='origin_id';"
             "UPDATE _sync_state SET value='%s' WHERE key='file_id'",
             origin, origin, id);
    if (replica_sql(r, sql) != SQL_DONE)
        fail(w, r, sql, replica_why(r));
}

static int copy_template(world *w, replica *r)
{
    disk_image *image = template_of(w, r->capture);
    int rc = SQLITE_OK;

    if (!r->memory)
        disk_restore(r->index, image);
    if (replica_open_app(r) != SQLITE_OK)
        finding(w, "error", "replica %d cannot be opened", r->index);
    if (r->memory)
        rc = disk_image_read(image, r->app);
    if (rc == SQLITE_OK && r->wal)
        rc = replica_sql(r, "PRAGMA journal_mode=WAL");
    if (rc != SQLITE_OK)
        fail(w, r, "copying the template", replica_why(r));
    rename_origin(w, r);
    return replica_open(w, r);
}

void schema_create(world *w, replica *r)
{
    if ((r->postgres ? postgres_create(w, r) : copy_template(w, r)) == CSYNC_OK)
        oracle_rows_before(w, r);
}

/* ---- keys ---- */

int key_of(const char *table, const char *pk)
{
    const char *digit = pk + strcspn(pk, "0123456789");

    for (int t = 0; t < TABLES; t++)
        if (strcmp(table, table_names[t]) == 0 && *digit >= '1' && *digit < '1' + KEYS)
            return t * KEYS + *digit - '1';
    return -1;
}

const char *key_text(int key)
{
    static char text[32];

    snprintf(text, sizeof text, "%s %d", table_names[key / KEYS], key % KEYS + 1);
    return text;
}

void key_where(int table, int n, char *out, size_t size)
{
    if (table == TAG)
        snprintf(out, size, "name='t%d'", n);
    else if (table == PAIR)
        snprintf(out, size, "a=%d AND b='x'", n);
    else
        snprintf(out, size, "id=%d", n);
}

/* ---- what users do ---- */

static int pick_table(const world *w, rng *g)
{
    int table;

    do
        table = (int)rng_below(g, TABLES);
    while (!(w->config.tables >> table & 1));
    return table;
}

/* A value for a nullable reference to one of the folders. */
static const char *reference(rng *g, int keys)
{
    static const char *const values[] = {"NULL", "1", "2", "3", "4"};

    return values[rng_chance(g, 20) ? 0 : rng_range(g, 1, keys)];
}

static void upsert_sql(world *w, int table, int n, rng *g, char *out, size_t size)
{
    long long v = w->next_v++;
    int u = rng_range(g, 1, 4);

    switch (table) {
    case NOTE:
        snprintf(
            out, size,
            "INSERT INTO note(id,v,body) VALUES(%d,%lld,'b%d') ON CONFLICT(id) DO UPDATE SET v=%lld",
            n, v, u, v);
        break;
    case TAG:
        snprintf(
            out, size,
            "INSERT INTO tag(name,u,v) VALUES('t%d',%d,%lld) ON CONFLICT(name) DO UPDATE SET u=%d,v=%lld",
            n, u, v, u, v);
        break;
    case FOLDER: {
        const char *up = w->config.cycle ? reference(g, w->config.keys) : "NULL";

        snprintf(
            out, size,
            "INSERT INTO folder(id,up,v) VALUES(%d,%s,%lld) ON CONFLICT(id) DO UPDATE SET up=%s,v=%lld",
            n, up, v, up, v);
        break;
    }
    case DOC: {
        const char *folder = reference(g, w->config.keys);
        char tag[40];

        snprintf(tag, sizeof tag, ",(SELECT u FROM tag WHERE name='t%d')", u);
        snprintf(out, size,
                 "INSERT INTO doc(id,folder,v%s) VALUES(%d,%s,%lld%s) ON CONFLICT(id) DO UPDATE SET "
                 "folder=%s,v=%lld%s",
                 w->config.follows ? ",u" : "", n, folder, v, w->config.follows ? tag : "", folder,
                 v, w->config.follows ? ",u=excluded.u" : "");
        break;
    }
    default:
        snprintf(out, size,
                 "INSERT INTO pair(a,b,v) VALUES(%d,'x',%lld) ON CONFLICT(a,b) DO UPDATE SET v=%lld",
                 n, v, v);
    }
}

static void rekey_sql(world *w, int table, int n, rng *g, char *out, size_t size)
{
    static const char *const columns[TABLES] = {"id", "name", "id", "id", "a"};
    char where[40];
    int to = rng_range(g, 1, w->config.keys);

    key_where(table, n, where, sizeof where);
    snprintf(out, size, "UPDATE %s SET %s=%s%d%s,v=%lld WHERE %s", table_names[table], columns[table],
             table == TAG ? "'t" : "", to, table == TAG ? "'" : "", (long long)w->next_v++, where);
}

static void random_sql(world *w, replica *r, rng *g, char *out, size_t size)
{
    int table = pick_table(w, g), n = rng_range(g, 1, w->config.keys);
    unsigned luck = rng_below(g, 100);
    char where[40];

    key_where(table, n, where, sizeof where);
    if (luck < 26 || (luck >= 85 && w->config.events & EVENT_PURGE))
        snprintf(out, size, "DELETE FROM %s WHERE %s", table_names[table], where);
    else if (luck < 33)
        rekey_sql(w, table, n, g, out, size);
    else if (luck < 40 && r->has_column && table == NOTE)
        snprintf(out, size, "UPDATE note SET v=%lld, extra=%u WHERE %s", (long long)w->next_v++,
                 rng_below(g, 100), where);
    else if (luck < 45)
        snprintf(out, size, "UPDATE %s SET v=%lld", table_names[table], (long long)w->next_v++);
    else
        upsert_sql(w, table, n, g, out, size);
}

static int code_of(const replica *r, const csync_error *err)
{
    int refused = r->postgres ? strncmp(err->message, "PostgreSQL 23", 13) == 0
                              : (err->native_code & 0xff) == SQLITE_CONSTRAINT;

    return err->code == CSYNC_OK ? SQL_DONE : refused ? SQL_REFUSED : SQL_FAILED;
}

/* By the application's connection, or by csync's. */
static int run_sql(replica *r, const char *sql, int through_csync, char *why, size_t size)
{
    csync_error err = CSYNC_ERROR_INIT;
    int rc;

    if (through_csync) {
        (void)csync_execute(r->handle, sql, NULL, 0, NULL, NULL, NULL, &err);
        snprintf(why, size, "%.150s", err.message);
        return code_of(r, &err);
    }
    rc = replica_sql(r, sql);
    snprintf(why, size, "%s", rc == SQL_DONE ? "" : replica_why(r));
    return rc;
}

/* A constraint says no to a user now and then: his transaction has not happened. */
void schema_write(world *w, replica *r, rng *g)
{
    int statements = rng_chance(g, 25) ? rng_range(g, 2, 3) : 1;
    int through_csync = statements == 1 && rng_chance(g, 25), rc = SQL_DONE;
    char sql[300], why[200] = "";

    replica_clock(w, r);
    if (statements > 1)
        rc = replica_sql(r, r->postgres ? "BEGIN" : "BEGIN IMMEDIATE");
    for (int i = 0; i < statements && rc == SQL_DONE; i++) {
        random_sql(w, r, g, sql, sizeof sql);
        rc = run_sql(r, sql, through_csync, why, sizeof why);
        event(w, "  replica %d%s: %s%s%s", r->index, through_csync ? " (csync_execute)" : "", sql,
              rc ? " -> " : "", rc ? why : "");
    }
    if (statements > 1 && rc == SQL_DONE) {
        rc = replica_sql(r, "COMMIT");
        snprintf(why, sizeof why, "%s", rc == SQL_DONE ? "" : replica_why(r));
    }
    if (replica_in_transaction(r))
        (void)replica_sql(r, "ROLLBACK");
    if (rc == SQL_FAILED)
        fail(w, r, sql, why);
}

void schema_add_column(world *w, replica *r)
{
    if (r->has_column || !(w->config.tables & 1))
        return;
    replica_clock(w, r);
    event(w, "  replica %d: ALTER TABLE note ADD COLUMN extra", r->index);
    if (replica_sql(r, "ALTER TABLE note ADD COLUMN extra INTEGER DEFAULT 7") != SQL_DONE)
        fail(w, r, "ALTER TABLE", replica_why(r));
    else
        r->has_column = 1;
    if (r->postgres)
        postgres_has_column(r);
}
