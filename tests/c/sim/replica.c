/* replica.c - a replica's life: made, opened, closed, killed. */
#include <stdio.h>
#include <string.h>

#include "base/file_id.h"
#include "base/uuid.h"
#include "sim.h"

/* ---- chance for the production code ---- */

static rng uuids;

static int fill(unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(rng_next(&uuids) >> 24);
    return 0;
}

void replica_clock(const world *w, const replica *r)
{
    disk_set_time(w->now + r->skew);
    if (r->postgres)
        postgres_clock(r, w->now + r->skew);
}

/* ---- opening ---- */

int replica_open_app(replica *r)
{
    int rc;

    if (r->postgres)
        return SQLITE_OK; /* postgres.c keeps it */
    rc = sqlite3_open_v2(r->memory ? ":memory:" : r->path, &r->app,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

    sqlite3_db_config(r->app, SQLITE_DBCONFIG_LOOKASIDE, NULL, 256, 200);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(r->app, "PRAGMA page_size=1024; PRAGMA foreign_keys=ON", NULL, NULL, NULL);
    return rc;
}

void replica_origin(const world *w, const replica *r, char out[40])
{
    rng g = rng_of(w->seed * 77 + (uint64_t)r->index);

    snprintf(out, 40, "%04x-replica-%d", (unsigned)(rng_next(&g) >> 48), r->index);
}

static int open_postgres(const world *w, replica *r, csync_error *err)
{
    csync_open_options options = {.struct_size = sizeof options};
    char url[200], origin[40];

    replica_origin(w, r, origin);
    options.origin = r->copied ? NULL : origin;
    postgres_url(r, url, sizeof url);
    return csync_open(&r->handle, url, &options, err);
}

static int open_csync(const world *w, replica *r, csync_error *err)
{
    csync_state state = {.struct_size = sizeof state};
    int rc = r->postgres   ? open_postgres(w, r, err)
             : r->attached ? csync_open_sqlite(&r->handle, r->app, NULL, NULL, err)
                           : csync_open(&r->handle, r->path, NULL, err);

    if (rc == CSYNC_OK)
        rc = csync_get_state(r->handle, &state, err);
    memcpy(r->origin, state.origin, sizeof r->origin);
    return rc;
}

/* Random numbers of this replica depend on how often it was opened, not on what the others do. */
int replica_open(world *w, replica *r)
{
    csync_error err = CSYNC_ERROR_INIT;
    int rc;

    replica_clock(w, r);
    cs_random_source(fill);
    cs_file_id_source(disk_file_id);
    uuids = rng_of((r->index == TEMPLATE ? 0 : w->seed) * 1000003u + (uint64_t)r->index * 257u +
                   (uint64_t)r->opened);
    if (!r->app && replica_open_app(r) != SQLITE_OK && !disk_dead(r->index))
        finding(w, "error", "replica %d cannot be opened: %s", r->index, sqlite3_errmsg(r->app));
    r->opened++;
    rc = open_csync(w, r, &err);
    if (rc != CSYNC_OK && !disk_dead(r->index))
        finding(w, "error", "csync_open of replica %d: %s", r->index, err.message);
    return rc;
}

void replica_create(world *w, int index, rng *g)
{
    replica *r = &w->replicas[index];

    memset(r, 0, sizeof *r);
    r->index = index;
    snprintf(r->path, sizeof r->path, "r%d", index);
    r->postgres = w->config.postgres >> index & 1;
    r->memory = rng_chance(g, 15) && !r->postgres;
    r->attached = (r->memory || rng_chance(g, 55)) && !r->postgres;
    r->wal = !r->memory && rng_chance(g, 25) && !r->postgres;
    r->capture = rng_chance(g, 30) ? CSYNC_CAPTURE_KEYS : CSYNC_CAPTURE_FULL;
    r->skew = w->config.skew ? rng_range(g, -w->config.skew, w->config.skew) : 0;
    r->strategy = !w->config.strategies || !index ? CSYNC_LAST_WRITE_WINS
                  : w->config.strategies == EVERY_EDIT
                      ? rng_range(g, CSYNC_CLIENT_WINS, CSYNC_CUSTOM)
                      : rng_range(g, CSYNC_LAST_WRITE_WINS, CSYNC_CUSTOM);
    for (int i = 0; i < ALL_KEYS; i++)
        r->head[i] = -1;
    event(w, "replica %d: %s, capture %d, skew %lld, strategy %d", index,
          r->postgres   ? "postgresql"
          : r->memory   ? "memory"
          : r->attached ? r->wal ? "attached, wal" : "attached, journal"
          : r->wal      ? "wal"
                        : "journal",
          r->capture, (long long)r->skew, r->strategy);
    schema_create(w, r);
    w->count = w->count > index ? w->count : index + 1;
}

void replica_close(world *w, replica *r)
{
    for (int i = 0; i < w->link_count; i++)
        if (w->links[i].from == r->index)
            net_drop(w, &w->links[i]);
    oracle_close(r);
    csync_close(r->handle);
    r->handle = NULL;
    if (sqlite3_close(r->app) != SQLITE_OK)
        finding(w, "error", "replica %d cannot be closed: %s", r->index, sqlite3_errmsg(r->app));
    r->app = NULL;
}

void replica_recover(world *w, replica *r)
{
    event(w, "  replica %d died and is opened again", r->index);
    replica_close(w, r);
    disk_revive(r->index);
    replica_open(w, r);
}
