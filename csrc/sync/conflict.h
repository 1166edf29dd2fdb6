/* conflict.h - which of two changes wins, and the meeting of concurrent ones. */
#ifndef CS_CONFLICT_H
#define CS_CONFLICT_H
#include "sync/replica.h"

/* Total order of two changes to one row: timestamp, origin, seq, delete before row, canonical payload.
 * *order <0: `a` is the lower. CSYNC_EINVAL: a payload is no JSON. */
int cs_change_compare(const csync_change *a, const csync_change *b, int *order, csync_error *err);
/* *same 1: both concern one row, however its key is written. CSYNC_EINVAL: a key is no JSON. */
int cs_change_same_row(const csync_change *a, const csync_change *b, int *same, csync_error *err);
/* *same 1: both delete the row, or both give it the same content. */
int cs_change_same(const csync_change *a, const csync_change *b, int *same, csync_error *err);

typedef struct cs_meeting {
    csync *replica;
    const csync_sync_options *options;
    csync_batch *decisions; /* changes that were decided on here; they still have no stamp */
    size_t *decided; /* item of each decision */
    size_t decided_cap;
    int64_t conflicts;
} cs_meeting;

/* Goes through the items whose head is a local change that no peer has: concurrent ones are decided by
 * the strategy. Sets force or status of the items, and fills `decisions`. Heads are filled in. */
int cs_conflicts_meet(cs_meeting *m, cs_item *items, size_t count, csync_error *err);
/* The audit of decision `i`, whose change is final now. */
int cs_conflict_decided(cs_meeting *m, const cs_item *item, const csync_change *winner,
                        csync_error *err);
const char *cs_strategy_name(int strategy);
#endif
