/* changes.h - a batch's changes enter the tables, inside a transaction of the caller's. */
#ifndef CS_CHANGES_H
#define CS_CHANGES_H
#include "sync/conflict.h"
#include "sync/replica.h"

/* How far ahead of this replica's clock the author of a push may be. */
#define CS_DRIFT_MS INT64_C(300000)
/* 9000-01-01: a stamp from then on is refused, so that there is always a later one for the next edit. */
#define CS_STAMP_END INT64_C(221845392000000)

typedef struct cs_changes {
    csync *replica;
    const csync_batch *batch;
    const csync_sync_options *options;
    const cs_peer *peer; /* whom they come from; NULL: nobody in particular */
    int pulling; /* this replica asked for them; else it is the peer that pushes */
    int64_t suspect_ts; /* unknown rows up to this timestamp may have been deleted, of which their maker has not
                           heard; 0: it has heard of every delete that is forgotten here */
    int64_t forgotten_ts; /* no delete that is forgotten here has a later timestamp; 0: none is */
    int more; /* another batch follows */
    int answering; /* they came with the answer to a push */
    int (*tick)(void *ctx, int64_t done, csync_error *err); /* may be NULL */
    void *ctx;
    /* results */
    cs_item *items; /* one for each change */
    size_t count;
    csync_result result;
    cs_meeting meeting;
    int64_t parked_before, parked_after;
} cs_changes;

/* How much of this replica's log a peer that says so has; what it says counts only if this log gave it out. */
int cs_known_version(csync *c, const cs_position *position, int64_t *version, csync_error *err);
/* Decides on each change, writes what wins, and fills items and result. Suppressed and folded. */
int cs_changes_enter(cs_changes *w, csync_error *err);
/* Deletes, as this replica's own change, the row of each change of `about`; it was deleted elsewhere and that is
 * forgotten. Who loses is kept. */
int cs_changes_delete(cs_changes *w, csync_batch *about, csync_error *err);
void cs_changes_free(cs_changes *w);
#endif
