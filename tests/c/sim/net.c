/* net.c - sessions between replicas, step by step, over a network that loses, delays, repeats, reorders and
 * damages. Everything crosses it in the wire form. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum fate { ARRIVES, REQUEST_LOST, ANSWER_LOST, DELAYED, REPEATED, OLD_ANSWER, DAMAGED };
static const char *const fates[] = {
    "",           " - the request is lost",  " - the answer is lost",
    " - delayed", " - and will be repeated", " - an old answer arrives",
    " - damaged"};

static enum fate draw_fate(const world *w, rng *g)
{
    unsigned luck = rng_below(g, 100);

    if (w->faults & FAULT_LOSS && luck < 8)
        return luck < 4 ? REQUEST_LOST : ANSWER_LOST;
    if (w->faults & FAULT_DELAY && luck >= 10 && luck < 20)
        return DELAYED;
    if (w->faults & FAULT_REPEAT && luck >= 20 && luck < 30)
        return REPEATED;
    if (w->faults & FAULT_DELAY && luck >= 30 && luck < 36)
        return OLD_ANSWER;
    if (w->faults & FAULT_DAMAGE && luck >= 40 && luck < 44)
        return DAMAGED;
    return ARRIVES;
}

/* ---- what is under way ---- */

static void keep(world *w, int kind, int link, const char *json)
{
    message *m;

    if (w->pool_count == MAX_POOL)
        return;
    m = &w->pool[w->pool_count++];
    m->kind = kind;
    m->link = link;
    m->json = strdup(json);
}

static void forget(world *w, int i)
{
    free(w->pool[i].json);
    w->pool[i] = w->pool[--w->pool_count];
}

void net_free(world *w)
{
    while (w->pool_count)
        forget(w, 0);
}

/* A digit of a row's v turns into another. */
static void damage(char *json)
{
    char *at = strstr(json, "\\\"v\\\":");

    if (at && at[6] >= '0' && at[6] <= '9')
        at[6] = at[6] == '9' ? '1' : (char)(at[6] + 1);
}

void net_drop(world *w, edge *l)
{
    (void)w;
    csync_session_free(l->session);
    l->session = NULL;
}

/* ---- what a call left behind ---- */

/* Reads what the replica has committed. 1: it died in the call, and lives again. */
static int settled(world *w, replica *r, const csync_batch *batch, const csync_outcome *outcome,
                   int taken, int strategy)
{
    int died = disk_dead(r->index);

    if (died) {
        replica_recover(w, r);
        taken = batch ? PERHAPS : 0;
    }
    oracle_observe(w, r, batch, died ? NULL : outcome, taken, strategy);
    return died;
}

static void unexpected(world *w, const replica *r, const char *call, const csync_error *err)
{
    finding(w, "error", "%s on replica %d: %s (%d)", call, r->index, err->message, err->code);
}

/* The peer says no, and the session may know a way on. */
static void refused(world *w, edge *l, const csync_error *why)
{
    csync_error err = CSYNC_ERROR_INIT;
    int rc;

    replica_clock(w, &w->replicas[l->from]);
    rc = csync_session_refused(l->session, why, &err);
    event(w, "    refused: %s; the session %s", why->message, rc == CSYNC_OK ? "goes on" : "ends");
    if (settled(w, &w->replicas[l->from], NULL, NULL, 0, 0))
        return;
    if (rc != CSYNC_OK)
        unexpected(w, &w->replicas[l->from], "csync_session_refused", &err);
    l->refused = rc == CSYNC_OK;
}

/* ---- the peer's side ---- */

/* A page of the peer's log as JSON, from csync_malloc; NULL: it could not answer. */
static char *serve(world *w, edge *l, const csync_fetch *fetch)
{
    replica *r = &w->replicas[l->to];
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *batch = NULL;
    char *json = NULL;
    int rc;

    replica_clock(w, r);
    rc = csync_changes(r->handle, fetch, &batch, &err);
    if (settled(w, r, NULL, NULL, 0, 0))
        rc = CSYNC_ENET;
    else if (rc == CSYNC_EFULLRESYNC)
        refused(w, l, &err);
    else if (rc != CSYNC_OK)
        unexpected(w, r, "csync_changes", &err);
    if (rc == CSYNC_OK) {
        oracle_page(w, r, batch, "a page");
        rc = csync_batch_to_json(batch, &json, NULL, &err);
    }
    csync_batch_free(batch);
    return rc == CSYNC_OK ? json : NULL;
}

static csync_batch *parse(world *w, const char *json)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *batch = NULL;

    if (csync_batch_from_json(&batch, json, strlen(json), &err) != CSYNC_OK)
        finding(w, "error", "csync_batch_from_json: %s", err.message);
    return batch;
}

/* The peer takes a push; its answer as JSON. `damaged`: it has to notice. */
static char *take_push(world *w, int to, const char *json, int damaged)
{
    replica *r = &w->replicas[to];
    csync_error err = CSYNC_ERROR_INIT;
    csync_result result = {.struct_size = sizeof result};
    csync_batch_info info = {.struct_size = sizeof info};
    csync_outcome *outcome = NULL;
    csync_batch *batch = parse(w, json);
    char *answer = NULL;
    int64_t position;
    int rc;

    if (!batch)
        return NULL;
    position = oracle_position(w, r, batch);
    replica_clock(w, r);
    rc = csync_apply(r->handle, batch, NULL, &outcome, &result, &err);
    event(w, "    replica %d takes it: %d, %zu outcomes, position %lld", to, rc,
          csync_outcome_count(outcome), (long long)csync_outcome_position(outcome));
    (void)csync_batch_get_info(batch, &info);
    if (result.batches)
        oracle_continues(w, r, batch, position);
    if (settled(w, r, batch, outcome, result.batches > 0 ? CERTAIN : 0,
                info.compare ? CSYNC_CUSTOM : CSYNC_LAST_WRITE_WINS))
        rc = CSYNC_ENET;
    else if (rc != CSYNC_OK && !(damaged && rc == CSYNC_EHASH))
        unexpected(w, r, "csync_apply", &err);
    if (rc == CSYNC_OK)
        (void)csync_outcome_to_json(outcome, &answer, &err);
    csync_outcome_free(outcome);
    csync_batch_free(batch);
    return answer;
}

/* ---- strategies ---- */

/* Decides by what it is asked, so that a run repeats. */
static int on_conflict(void *user_data, const csync_change *local, const csync_change *remote,
                       const csync_change *base, csync_decision *decision)
{
    world *w = user_data;
    size_t sum = strlen(local->pk);

    (void)base;
    oracle_conflict(w, local, remote);
    for (const char *p = remote->payload ? remote->payload : "d"; *p; p++)
        sum += (unsigned char)*p;
    switch (sum % 4) {
    case 0:
        decision->kind = CSYNC_KEEP_LOCAL;
        break;
    case 1:
        decision->kind = CSYNC_TAKE_REMOTE;
        oracle_decided(w, local);
        break;
    case 2:
        decision->kind = CSYNC_DELETE_ROW;
        break;
    default:
        decision->kind = local->payload ? CSYNC_MERGE : CSYNC_KEEP_LOCAL;
        if (local->payload && (decision->payload = csync_malloc(40)) != NULL)
            snprintf(decision->payload, 40, "{\"v\":%lld}", (long long)w->next_v++);
    }
    event(w, "    conflict on %s %s: decision %d", local->table, local->pk, decision->kind);
    return CSYNC_OK;
}

static int begin(world *w, edge *l, rng *g)
{
    static const int sizes[] = {1, 2, 3, 50};
    replica *r = &w->replicas[l->from];
    csync_sync_options o = {.struct_size = sizeof o};
    csync_error err = CSYNC_ERROR_INIT;

    l->strategy = r->strategy;
    o.strategy = r->strategy;
    o.on_conflict = on_conflict;
    o.user_data = w;
    o.batch_size = sizes[rng_below(g, 4)];
    o.direction = !l->push                         ? CSYNC_PULL
                  : w->faults && rng_chance(g, 15) ? rng_range(g, CSYNC_PULL, CSYNC_PUSH)
                                                   : CSYNC_BOTH;
    replica_clock(w, r);
    if (csync_session_new(&l->session, r->handle, w->replicas[l->to].origin, &o, &err) != CSYNC_OK) {
        unexpected(w, r, "csync_session_new", &err);
        return 0;
    }
    event(w, "  %d begins a session with %d, direction %d, pages of %d", l->from, l->to,
          o.direction, o.batch_size);
    return 1;
}

/* ---- one step of a session ---- */

static int64_t batches(const edge *l)
{
    csync_result result = {.struct_size = sizeof result};

    return csync_session_result(l->session, &result) == CSYNC_OK ? result.batches : 0;
}

/* A page reaches the session, for what it is worth. */
static void feed_page(world *w, edge *l, const char *json, enum fate fate)
{
    replica *r = &w->replicas[l->from];
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *page = parse(w, json);
    int64_t before = batches(l), position;
    int rc, taken;

    if (!page)
        return;
    position = oracle_position(w, r, page);
    replica_clock(w, r);
    rc = csync_session_page(l->session, page, &err);
    taken = batches(l) > before;
    event(w, "    replica %d %s it: %d", r->index, taken ? "takes" : "drops", rc);
    if (taken)
        oracle_continues(w, r, page, position);
    if (settled(w, r, page, NULL, taken ? CERTAIN : 0, l->strategy))
        rc = CSYNC_ENET;
    else if (rc != CSYNC_OK && !(fate == DAMAGED && rc == CSYNC_EHASH) && fate != OLD_ANSWER)
        unexpected(w, r, "csync_session_page", &err);
    csync_batch_free(page);
    if (rc != CSYNC_OK)
        net_drop(w, l);
}

static char *old_page(world *w, int link)
{
    for (int i = 0; i < w->pool_count; i++)
        if (w->pool[i].kind == PAGE && w->pool[i].link == link)
            return w->pool[i].json;
    return NULL;
}

static void do_fetch(world *w, int index, const csync_fetch *fetch, rng *g)
{
    edge *l = &w->links[index];
    enum fate fate = draw_fate(w, g);
    char *json;

    if (fate == OLD_ANSWER && !old_page(w, index))
        fate = ARRIVES;
    event(w, "    %d asks %d after %lld%s", l->from, l->to, (long long)fetch->since, fates[fate]);
    if (fetch->cursor)
        event(w, "    a snapshot from \"%s\" on", fetch->cursor);
    if (fate == OLD_ANSWER) {
        feed_page(w, l, old_page(w, index), fate);
        return;
    }
    json = fate == REQUEST_LOST ? NULL : serve(w, l, fetch);
    if (json)
        event(w, "      %s", json);
    if (json && (fate == DELAYED || fate == REPEATED))
        keep(w, PAGE, index, json);
    if (json && fate == DAMAGED)
        damage(json);
    if (!l->refused && (!json || fate == ANSWER_LOST || fate == DELAYED))
        net_drop(w, l);
    else if (!l->refused)
        feed_page(w, l, json, fate);
    l->refused = 0;
    csync_free(json);
}

static void feed_outcome(world *w, edge *l, const char *json)
{
    replica *r = &w->replicas[l->from];
    csync_error err = CSYNC_ERROR_INIT;
    csync_outcome *outcome = NULL;
    int64_t before = batches(l);
    int rc = csync_outcome_from_json(&outcome, json, strlen(json), &err), taken;

    if (rc == CSYNC_OK) {
        replica_clock(w, r);
        rc = csync_session_outcome(l->session, outcome, &err);
    }
    taken = batches(l) > before;
    event(w, "    replica %d reads the answer: %d, %s", r->index, rc, json);
    if (disk_dead(r->index)) {
        replica_recover(w, r);
        rc = CSYNC_ENET;
        taken = PERHAPS;
    } else if (rc != CSYNC_OK) {
        unexpected(w, r, "csync_session_outcome", &err);
    }
    oracle_winners(w, r, outcome, taken, l->strategy);
    csync_outcome_free(outcome);
    if (rc != CSYNC_OK)
        net_drop(w, l);
}

static void do_send(world *w, int index, const csync_batch *batch, rng *g)
{
    edge *l = &w->links[index];
    enum fate fate = draw_fate(w, g);
    csync_error err = CSYNC_ERROR_INIT;
    char *json = NULL, *answer = NULL;

    if (fate == OLD_ANSWER)
        fate = ARRIVES;
    oracle_page(w, &w->replicas[l->from], batch, "a push");
    if (csync_batch_to_json(batch, &json, NULL, &err) != CSYNC_OK) {
        unexpected(w, &w->replicas[l->from], "csync_batch_to_json", &err);
        return;
    }
    event(w, "    %d pushes to %d%s: %s", l->from, l->to, fates[fate], json);
    if (fate == DELAYED || fate == REPEATED)
        keep(w, PUSH, index, json);
    if (fate == DAMAGED)
        damage(json);
    if (fate != REQUEST_LOST && fate != DELAYED)
        answer = take_push(w, l->to, json, fate == DAMAGED);
    if (!answer || fate == ANSWER_LOST)
        net_drop(w, l);
    else
        feed_outcome(w, l, answer);
    csync_free(answer);
    csync_free(json);
}

/* 1: the session goes on. */
static int advance(world *w, int index, rng *g)
{
    edge *l = &w->links[index];
    replica *r = &w->replicas[l->from];
    csync_step step = {.struct_size = sizeof step};
    csync_error err = CSYNC_ERROR_INIT;
    int rc;

    if (!l->session && !begin(w, l, g))
        return 0;
    replica_clock(w, r);
    rc = csync_session_next(l->session, &step, &err);
    if (settled(w, r, NULL, NULL, 0, 0))
        return 0;
    if (rc != CSYNC_OK) {
        unexpected(w, r, "csync_session_next", &err);
        net_drop(w, l);
        return 0;
    }
    if (step.kind == CSYNC_STEP_DONE) {
        event(w, "    done");
        net_drop(w, l);
        return 0;
    }
    if (step.kind == CSYNC_STEP_SEND)
        do_send(w, index, step.batch, g);
    else
        do_fetch(w, index, &step.fetch, g);
    return l->session != NULL;
}

void net_advance(world *w, int index, int steps, rng *g)
{
    while (steps-- > 0 && !w->finding[0] && advance(w, index, g))
        ;
}

void net_deliver(world *w, rng *g)
{
    int i = w->pool_count ? (int)rng_below(g, (unsigned)w->pool_count) : 0;
    message *m = &w->pool[i];

    if (!w->pool_count || m->kind != PUSH)
        return;
    event(w, "  an old push reaches %d: %s", w->links[m->link].to, m->json);
    csync_free(take_push(w, w->links[m->link].to, m->json, 0));
    if (rng_chance(g, 70))
        forget(w, i);
}

void net_settle(world *w, rng *g)
{
    for (int i = 0; i < w->link_count; i++) {
        if (w->links[i].session && rng_chance(g, 50))
            net_advance(w, i, 1000, g);
        else
            net_drop(w, &w->links[i]);
    }
    while (w->pool_count && !w->finding[0]) {
        int i = (int)rng_below(g, (unsigned)w->pool_count);
        message *m = &w->pool[i];

        if (m->kind == PUSH && rng_chance(g, 70)) {
            event(w, "  an old push reaches %d: %s", w->links[m->link].to, m->json);
            csync_free(take_push(w, w->links[m->link].to, m->json, 0));
        }
        forget(w, i);
    }
}
