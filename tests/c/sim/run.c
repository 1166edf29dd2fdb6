/* run.c - a run: what is drawn from the seed, the steps, and the quiet after them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"

void event(world *w, const char *format, ...)
{
    static char line[8192];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (int i = 0; i < n && i < (int)sizeof line - 1; i++)
        w->hash = (w->hash ^ (unsigned char)line[i]) * UINT64_C(1099511628211);
    if (w->trace)
        puts(line);
    if (w->record)
        fprintf(w->record, "%s\n", line);
}

void finding(world *w, const char *kind, const char *format, ...)
{
    va_list args;
    int n;

    if (w->finding[0])
        return;
    n = snprintf(w->finding, sizeof w->finding, "%s: ", kind);
    va_start(args, format);
    vsnprintf(w->finding + n, sizeof w->finding - (size_t)n, format, args);
    va_end(args);
    event(w, "FOUND %s", w->finding);
}

const char *step_name(enum step_kind kind)
{
    static const char *const names[] = {"write",      "sync",  "deliver", "clock",   "reopen",
                                        "add column", "purge", "backup",  "restore", "copy",
                                        "newcomer",   "edge",  "days"};

    return names[kind];
}

/* ---- what the seed says ---- */

static void plan_config(config *c, rng *g)
{
    static const int sizes[] = {3, 3, 3, 3, 4, 4, 5, 5, 6, 8};
    static const int skews[] = {0, 0, 50, 1000, 100000};
    static const int faults[] = {0, FAULT_CRASH, FAULT_CRASH | FAULT_POWER,
                                 FAULT_LOSS | FAULT_DELAY | FAULT_REPEAT};

    memset(c, 0, sizeof *c);
    c->replicas = sizes[rng_below(g, 10)];
    c->topology = rng_chance(g, 20) ? STAR : (int)rng_below(g, TOPOLOGIES);
    c->strategies = c->topology == STAR ? rng_range(g, 0, EVERY_EDIT) : 0;
    c->push = c->strategies || rng_chance(g, 50);
    c->tables = 1 << rng_below(g, TABLES) | 1 << rng_below(g, TABLES);
    if (c->tables & 8)
        c->tables |= 4; /* documents lie in folders */
    c->made = c->tables;
    c->action = (int)rng_below(g, 6);
    c->cycle = rng_chance(g, 20);
    c->keys = rng_range(g, 1, KEYS);
    c->skew = skews[rng_below(g, 5)];
    c->clock_steps = rng_chance(g, 40) ? rng_range(g, 1, 500) : 0;
    c->faults = rng_chance(g, 60) ? 63 : faults[rng_below(g, 4)];
    c->steps = rng_range(g, 8, 50);
    c->rows_before = c->tables & 1 && rng_chance(g, 20);
    c->schema_change = rng_chance(g, 15);
    if (rng_chance(g, 65))
        c->events = (int)rng_below(g, 64);
    else if (rng_chance(g, 50))
        c->events = EVENT_PURGE;
    c->heavy = rng_chance(g, 50);
    if (c->heavy) /* what is rare meets more often where there is less of the rest */
        c->keys = rng_range(g, 1, 2);
}

/* Drawn apart, and by a number that draws it for none of the seeds that found something before there was this: they are the
 * same runs still. */
static void plan_follows(config *c, rng g)
{
    c->follows = c->tables & 8 && rng_chance(&g, 25);
    if (c->follows)
        c->made = c->tables |= 2;
}

int with_postgres;

/* Replicas of both kinds. All tables are made, so that a database may serve the next run too. */
static void plan_backends(config *c, rng g)
{
    int first = (1 << c->replicas) - 1;

    do
        c->postgres = (int)rng_below(&g, 1 << MAX_REPLICAS);
    while ((c->postgres & first) == 0 || (c->postgres & first) == first);
    c->made = (1 << TABLES) - 1;
}

static enum step_kind plan_step(const config *c, rng *g)
{
    static const struct {
        int event;
        enum step_kind kind;
        unsigned percent, heavy; /* of all steps */
    } others[] = {{EVENT_PURGE, PURGE, 5, 14},   {EVENT_STALE, DAYS, 2, 3},
                  {EVENT_RESTORE, BACKUP, 3, 5}, {EVENT_RESTORE, RESTORE, 3, 7},
                  {EVENT_COPY, COPY, 2, 2},      {EVENT_NEWCOMER, NEWCOMER, 2, 4},
                  {EVENT_EDGE, EDGE, 2, 4}};
    unsigned luck = rng_below(g, 100), sum = 0;

    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (c->events & others[i].event)
            sum += c->heavy ? others[i].heavy : others[i].percent;
        if (luck < sum)
            return others[i].kind;
    }
    luck = rng_below(g, 100);
    if (luck < 42)
        return WRITE;
    if (luck < 88)
        return SYNC;
    if (luck < 93)
        return DELIVER;
    if (luck < 96)
        return c->clock_steps ? CLOCK : WRITE;
    if (luck < 98)
        return REOPEN;
    return c->schema_change ? COLUMN : SYNC;
}

void world_plan(world *w, uint64_t seed)
{
    rng g = rng_of(seed);

    memset(w, 0, sizeof *w);
    w->seed = seed;
    plan_config(&w->config, &g);
    plan_follows(&w->config, rng_of(seed ^ 0xf0c27));
    if (with_postgres)
        plan_backends(&w->config, rng_of(seed ^ 0xbac4e4d));
    for (int i = 0; i < w->config.steps; i++) {
        w->steps[i].kind = plan_step(&w->config, &g);
        w->steps[i].seed = rng_next(&g);
    }
}

/* ---- who talks to whom ---- */

static void connect_one(world *w, int a, int b)
{
    for (int i = 0; i < w->link_count; i++)
        if (w->links[i].from == a && w->links[i].to == b)
            return;
    if (w->link_count == MAX_LINKS)
        return;
    w->links[w->link_count++] = (edge){.from = a, .to = b, .push = w->config.push};
}

/* The higher one pushes and pulls, or both pull. */
static void join(world *w, int a, int b)
{
    int high = a > b ? a : b, low = a > b ? b : a;

    if (a == b)
        return;
    connect_one(w, high, low);
    if (!w->config.push)
        connect_one(w, low, high);
}

static void make_links(world *w, rng *g)
{
    int n = w->config.replicas;

    for (int i = 1; i < n; i++) {
        switch (w->config.topology) {
        case STAR:
            join(w, i, 0);
            break;
        case CHAIN:
        case RING:
            join(w, i, i - 1);
            break;
        default:
            join(w, i, (int)rng_below(g, (unsigned)i));
        }
    }
    if (w->config.topology == RING)
        join(w, n - 1, 0);
    for (int i = 0; w->config.topology == MESH && i < n; i++)
        join(w, (int)rng_below(g, (unsigned)n), (int)rng_below(g, (unsigned)n));
}

/* ---- steps ---- */

static void arm(world *w, int index, rng *g)
{
    int nth = rng_range(g, 1, rng_chance(g, 50) ? 12 : 60);
    int power = w->faults & FAULT_POWER && rng_chance(g, 50);

    if (w->replicas[index].memory || !(w->faults & FAULT_CRASH) || !rng_chance(g, 12))
        return;
    event(w, "  replica %d will die at its write %d%s", index, nth, power ? ", with the power" : "");
    disk_arm(index, nth, power, rng_next(g));
}

static replica *pick(world *w, rng *g)
{
    return &w->replicas[rng_below(g, (unsigned)w->count)];
}

static void do_write(world *w, rng *g)
{
    replica *r = pick(w, g);

    if (w->change_count > MAX_CHANGES - 200)
        return;
    arm(w, r->index, g);
    schema_write(w, r, g);
    if (disk_dead(r->index))
        replica_recover(w, r);
    disk_arm(r->index, 0, 0, 0);
    oracle_observe(w, r, NULL, NULL, 0, 0);
}

static void do_sync(world *w, rng *g)
{
    int index = (int)rng_below(g, (unsigned)w->link_count);
    edge *l = &w->links[index];
    int steps = rng_chance(g, 60) ? 1000 : rng_range(g, 1, 4);

    arm(w, rng_chance(g, 50) ? l->from : l->to, g);
    net_advance(w, index, steps, g);
    disk_arm(l->from, 0, 0, 0);
    disk_arm(l->to, 0, 0, 0);
}

static void do_reopen(world *w, rng *g)
{
    replica *r = pick(w, g);

    if (r->memory)
        return;
    event(w, "  replica %d is closed and opened", r->index);
    replica_close(w, r);
    replica_open(w, r);
    oracle_observe(w, r, NULL, NULL, 0, 0);
}

/* Its user is quick: no time passes. */
static void write_at_once(world *w, replica *r, rng *g, int most)
{
    for (int i = rng_range(g, 0, most); i > 0; i--) {
        schema_write(w, r, g);
        oracle_observe(w, r, NULL, NULL, 0, 0);
    }
}

static void do_clock(world *w, rng *g)
{
    replica *r = pick(w, g);
    int by = rng_range(g, -w->config.clock_steps, w->config.clock_steps);

    r->skew += by;
    event(w, "  the clock of replica %d steps by %d ms", r->index, by);
    write_at_once(w, r, g, 2);
}

static void do_column(world *w, replica *r)
{
    schema_add_column(w, r);
    oracle_observe(w, r, NULL, NULL, 0, 0);
}

/* ---- what else happens to replicas ---- */

/* Its neighbours catch up, so that there is something that everybody knows. */
static void meet_neighbours(world *w, int index, rng *g)
{
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < w->link_count; i++)
            if (w->links[i].from == index || w->links[i].to == index)
                net_advance(w, i, 1000, g);
}

/* All of them meet once: whoever is known to exist is waited for. */
static void introduce(world *w, rng *g)
{
    int faults = w->faults;

    w->faults = 0;
    for (int i = 0; i < w->link_count; i++)
        net_advance(w, i, 1000, g);
    w->faults = faults;
}

static void purge(world *w, replica *r, int stale_days)
{
    csync_purge_options o = {sizeof o, stale_days};
    csync_purged out = {.struct_size = sizeof out};
    csync_error err = CSYNC_ERROR_INIT;
    int rc;

    replica_clock(w, r);
    rc = csync_purge(r->handle, &o, &out, &err);
    event(w, "  replica %d purges%s: up to %lld, %lld entries, %lld deleted rows", r->index,
          stale_days ? " (clients are stale after a day)" : "", (long long)out.version,
          (long long)out.entries, (long long)out.tombstones);
    w->purged = 1;
    if (disk_dead(r->index))
        replica_recover(w, r);
    else if (rc != CSYNC_OK)
        finding(w, "error", "csync_purge on replica %d: %s", r->index, err.message);
    oracle_forgot(w, r);
    oracle_observe(w, r, NULL, NULL, 0, 0);
}

static void do_purge(world *w, rng *g)
{
    replica *r = pick(w, g);
    int stale_days = rng_chance(g, 30);

    if (!w->purged && w->config.events == EVENT_PURGE)
        introduce(w, g);
    if (rng_chance(g, 75))
        meet_neighbours(w, r->index, g);
    arm(w, r->index, g);
    purge(w, r, w->config.events == EVENT_PURGE ? 0 : stale_days);
    disk_arm(r->index, 0, 0, 0);
}

static void do_backup(world *w, rng *g)
{
    replica *r = pick(w, g);

    if (r->memory)
        return;
    event(w, "  replica %d is saved", r->index);
    disk_image_free(r->backup);
    r->backup = NULL;
    if (r->postgres)
        postgres_save(w, r);
    else
        r->backup = disk_save(r->index);
    r->saved = 1;
    memcpy(r->backup_head, r->head, sizeof r->head);
    r->backup_seen = r->seen;
    r->backup_column = r->has_column;
}

static void do_restore(world *w, rng *g)
{
    replica *r = pick(w, g);

    for (int i = 0; i < w->count && !r->saved; i++)
        r = &w->replicas[i];
    if (!r->saved || (r->postgres && r->has_column != r->backup_column)) /* only content goes back */
        return;
    if (w->config.events & EVENT_PURGE &&
        rng_chance(g, 40)) { /* what it will lack is trimmed elsewhere */
        introduce(w, g);
        introduce(w, g);
        for (int i = 0; i < w->count; i++)
            purge(w, &w->replicas[i], 0);
    }
    event(w, "  replica %d is restored from its backup", r->index);
    replica_close(w, r);
    if (r->postgres)
        postgres_restore(w, r);
    else
        disk_restore(r->index, r->backup);
    memcpy(r->head, r->backup_head, sizeof r->head);
    r->seen = r->backup_seen;
    r->has_column = r->backup_column;
    w->restored = 1;
    w->now += 60000;
    replica_open(w, r);
    oracle_observe(w, r, NULL, NULL, 0, 0);
    write_at_once(w, r, g, 3); /* its log may grow beyond what others have read */
}

/* Where strategies decide, everybody is a client of the one server. */
static void join_anybody(world *w, int index, rng *g)
{
    join(w, index, w->config.strategies ? 0 : (int)rng_below(g, (unsigned)index));
}

static void copy_file(world *w, const replica *r, replica *copy)
{
    disk_image *image = disk_save(r->index);

    disk_restore(copy->index, image);
    disk_image_free(image);
    replica_open(w, copy);
}

static void do_copy(world *w, rng *g)
{
    replica *r = pick(w, g), *copy = &w->replicas[w->count];

    if (r->memory || (r->postgres && r->has_column) || w->count == MAX_REPLICAS)
        return;
    event(w, "  replica %d is copied: replica %d", r->index, w->count);
    *copy = *r;
    copy->index = w->count++;
    snprintf(copy->path, sizeof copy->path, "r%d", copy->index);
    copy->handle = NULL;
    copy->app = NULL;
    copy->backup = NULL;
    copy->saved = 0;
    copy->log = copy->unfolded = copy->position = NULL;
    memset(copy->heads, 0, sizeof copy->heads);
    if (w->config.strategies) /* a copy of the server is a client too */
        copy->strategy = rng_range(g, CSYNC_CLIENT_WINS, CSYNC_CUSTOM);
    if (r->postgres)
        postgres_copy(w, r, copy);
    else
        copy_file(w, r, copy);
    join_anybody(w, copy->index, g);
    oracle_observe(w, copy, NULL, NULL, 0, 0);
    write_at_once(w, copy, g, 2);
}

static void do_newcomer(world *w, rng *g)
{
    if (w->count == MAX_REPLICAS)
        return;
    replica_create(w, w->count, g);
    join_anybody(w, w->count - 1, g);
}

static void do_edge(world *w, rng *g)
{
    int a = (int)rng_below(g, (unsigned)w->count), b = (int)rng_below(g, (unsigned)w->count);

    if (w->config.strategies)
        return;
    event(w, "  %d and %d meet", a, b);
    join(w, a, b);
}

/* One replica is away while the others go on, and forget. */
static void do_days(world *w, rng *g)
{
    int away = (int)rng_below(g, (unsigned)w->count);

    event(w, "  two days pass; replica %d is away", away);
    w->now += INT64_C(2) * 86400000;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < w->link_count; i++)
            if (w->links[i].from != away && w->links[i].to != away)
                net_advance(w, i, 1000, g);
        for (int i = 0; round < 2 && i < w->count; i++)
            if (i != away && rng_chance(g, 50)) {
                schema_write(w, &w->replicas[i], g);
                oracle_observe(w, &w->replicas[i], NULL, NULL, 0, 0);
            }
    }
    for (int i = 0; i < w->count && w->config.events & EVENT_PURGE; i++)
        if (i != away)
            purge(w, &w->replicas[i], 1);
}

static void do_step(world *w, int i)
{
    static const int pauses[] = {0, 0, 1, 1, 5, 100};
    step *s = &w->steps[i];
    rng g = rng_of(s->seed);

    w->at = i;
    w->now += pauses[rng_below(&g, 6)];
    event(w, "%d %s", i, step_name(s->kind));
    switch (s->kind) {
    case WRITE:
        do_write(w, &g);
        break;
    case SYNC:
        do_sync(w, &g);
        break;
    case DELIVER:
        net_deliver(w, &g);
        break;
    case CLOCK:
        do_clock(w, &g);
        break;
    case REOPEN:
        do_reopen(w, &g);
        break;
    case COLUMN:
        do_column(w, pick(w, &g));
        break;
    case PURGE:
        do_purge(w, &g);
        break;
    case BACKUP:
        do_backup(w, &g);
        break;
    case RESTORE:
        do_restore(w, &g);
        break;
    case COPY:
        do_copy(w, &g);
        break;
    case NEWCOMER:
        do_newcomer(w, &g);
        break;
    case EDGE:
        do_edge(w, &g);
        break;
    case DAYS:
        do_days(w, &g);
        break;
    }
}

/* ---- the quiet ---- */

static void sync_all(world *w, rng *g)
{
    int order[MAX_LINKS];

    for (int i = 0; i < w->link_count; i++) {
        int j = (int)rng_below(g, (unsigned)i + 1);

        order[i] = order[j];
        order[j] = i;
    }
    for (int i = 0; i < w->link_count && !w->finding[0]; i++)
        net_advance(w, order[i], 1000, g);
    w->now++;
}

static void quiet(world *w)
{
    rng g = rng_of(w->seed ^ 77);
    int rounds = 0, limit = 3 * w->count + 10;
    uint64_t before = 0, after = 1;

    w->at = w->config.steps;
    w->faults = 0;
    event(w, "the faults stop");
    for (int i = 0; w->config.schema_change && i < w->count; i++)
        do_column(w, &w->replicas[i]);
    net_settle(w, &g);
    oracle_hold(w);
    while (before != after && rounds++ < limit && !w->finding[0]) {
        before = oracle_positions(w);
        sync_all(w, &g);
        after = oracle_positions(w);
    }
    if (rounds > limit)
        finding(w, "unrest", "something still moves after %d rounds", limit);
    event(w, "quiet after %d rounds", rounds);
}

static void reset(world *w)
{
    w->count = w->link_count = w->pool_count = w->change_count = w->origin_count = 0;
    w->now = INT64_C(1767225600000);
    w->next_v = 1;
    w->at = -1;
    w->faults = w->config.faults;
    w->hash = UINT64_C(14695981039346656037);
    w->finding[0] = 0;
    w->restored = w->purged = 0;
    memset(w->twins, 0, sizeof w->twins);
    memset(w->forgotten, 0, sizeof w->forgotten);
    disk_wipe();
    disk_set_entropy(w->seed);
}

void world_run(world *w)
{
    static const char *const topologies[] = {"star", "chain", "ring", "tree", "mesh"};
    config *c = &w->config;
    rng g = rng_of(w->seed ^ 0x5eed);

    reset(w);
    event(w, "seed %llu: %d replicas, %s, %s, tables %d, action %d%s%s, %d keys, skew %d, faults %d",
          (unsigned long long)w->seed, c->replicas, topologies[c->topology],
          c->push ? "clients push" : "both pull", c->tables, c->action, c->cycle ? " in a cycle" : "",
          c->follows ? ", documents follow tags" : "", c->keys, c->skew, c->faults);
    for (int i = 0; i < c->replicas; i++)
        replica_create(w, i, &g);
    make_links(w, &g);
    for (int i = 0; i < c->steps && !w->finding[0]; i++)
        if (!w->steps[i].skip)
            do_step(w, i);
    if (!w->finding[0])
        quiet(w);
    if (!w->finding[0])
        oracle_end(w);
    for (int i = 0; i < w->count; i++)
        replica_close(w, &w->replicas[i]);
    for (int i = 0; i < w->count; i++)
        disk_image_free(w->replicas[i].backup);
    net_free(w);
    disk_wipe();
}
