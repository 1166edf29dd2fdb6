/* outcome.c - what became of the changes of a pushed batch. */
#include <string.h>

#include "base/mem.h"
#include "model/outcome.h"

static const char *const status_names[] = {NULL,     "applied",  "duplicate", "lost",
                                           "parked", "rejected", "conflict"};

const char *cs_outcome_name(int status)
{
    return status >= CSYNC_APPLIED && status <= CSYNC_CONFLICT ? status_names[status] : NULL;
}

int cs_outcome_parse(const char *text, size_t len)
{
    for (int i = CSYNC_APPLIED; i <= CSYNC_CONFLICT; i++)
        if (strlen(status_names[i]) == len && memcmp(status_names[i], text, len) == 0)
            return i;
    return 0;
}

csync_outcome *cs_outcome_create(void)
{
    return cs_calloc(1, sizeof(csync_outcome));
}

void cs_outcome_destroy(csync_outcome *outcome)
{
    if (!outcome)
        return;
    cs_free(outcome->items);
    cs_batch_destroy(outcome->winners);
    cs_arena_free(&outcome->arena);
    cs_free(outcome);
}

int cs_outcome_stand(csync_outcome *outcome, const cs_position *position, csync_error *err)
{
    outcome->position = position->version;
    outcome->epoch = NULL;
    if (position->epoch[0])
        outcome->epoch = cs_arena_copy(&outcome->arena, position->epoch, strlen(position->epoch));
    return outcome->epoch || !position->epoch[0] ? CSYNC_OK : cs_fail_nomem(err);
}

static int add_winner(csync_outcome *outcome, const csync_change *winner, csync_error *err)
{
    int64_t ms;

    if (cs_time_parse(winner->timestamp, strlen(winner->timestamp), &ms) != 0)
        return cs_fail(err, CSYNC_EINVAL, "timestamp \"%.40s\" is none", winner->timestamp);
    if (!outcome->winners)
        outcome->winners = cs_batch_create();
    if (!outcome->winners)
        return cs_fail_nomem(err);
    return cs_batch_append(outcome->winners, winner, ms, err);
}

int cs_outcome_add(csync_outcome *outcome, int status, const char *reason,
                   const csync_change *winner, csync_error *err)
{
    cs_outcome_item *item;
    const char *kept = "";
    int rc = CSYNC_OK;

    if (!cs_outcome_name(status))
        return cs_fail(err, CSYNC_EINVAL, "%d is no status of an outcome", status);
    if (cs_grow(&outcome->items, &outcome->cap, outcome->count + 1, sizeof *item) != CSYNC_OK)
        return cs_fail_nomem(err);
    if (reason && *reason)
        kept = cs_arena_copy(&outcome->arena, reason, strlen(reason));
    if (!kept)
        return cs_fail_nomem(err);
    if (winner)
        rc = add_winner(outcome, winner, err);
    if (rc != CSYNC_OK)
        return rc;
    item = &outcome->items[outcome->count++];
    item->status = status;
    item->reason = kept;
    item->winner = winner ? (ptrdiff_t)outcome->winners->count - 1 : -1;
    return CSYNC_OK;
}
