/* apply.h - a batch of somebody else's changes enters the replica. */
#ifndef CS_APPLY_H
#define CS_APPLY_H
#include "sync/replica.h"

typedef struct cs_apply {
    const csync_batch *batch;
    const char *peer; /* name under which positions are kept; NULL: no position is checked or moved */
    int pulling; /* the batch is a page that this replica asked for; else the peer pushes it */
    const csync_sync_options *options;
    int (*tick)(void *ctx, int64_t done, csync_error *err); /* may be NULL */
    void *ctx;
    csync_outcome **outcome; /* made if not NULL */
    csync_result *result; /* added to */
    /* results */
    int dropped; /* the batch does not continue the position, or is too old */
    cs_position position; /* where the replica stands now */
} cs_apply;

/* One transaction. */
int cs_apply_batch(csync *c, cs_apply *a, csync_error *err);

/* What the peer did with the batch that was pushed to it; outcome NULL: it took all of it. */
typedef struct cs_answer {
    const csync_batch *batch;
    const csync_outcome *outcome;
    const char *peer;
    const csync_sync_options *options;
    csync_result *result; /* added to */
    int taken; /* result: the batch was not dropped */
    int conflicts; /* result: the peer left changes of it to be decided on here */
    cs_position position; /* result: the peer has this replica's log up to here */
} cs_answer;
int cs_apply_answer(csync *c, cs_answer *a, csync_error *err);

void cs_result_add(csync_result *to, const csync_result *from);
/* CSYNC_EINVAL: a value is out of range. */
int cs_sync_options_check(const csync_sync_options *options, csync_error *err);
/* The wanted value, or the default where it is 0. */
int cs_batch_size(const csync_sync_options *options);
int64_t cs_batch_bytes(const csync_sync_options *options);
#endif
