/* page.h - pages of this replica's log and of its snapshot. */
#ifndef CS_PAGE_H
#define CS_PAGE_H
#include "sync/replica.h"

/* What others ask for: complete, hashed, with this replica as origin. Whoever asks is counted as a client. */
int cs_page_serve(csync *c, const csync_fetch *fetch, csync_batch **out, csync_error *err);

/* A push to `peer`, batch by batch. */
typedef struct cs_push {
    const char *peer;
    const csync_sync_options *options;
    /* Where log and position cannot bridge the gap, all heads are pushed; kept from batch to batch. */
    int whole;
    cs_buf cursor; /* behind the last row of the last batch that was taken */
    cs_position at; /* that the log stood at when it began; the position of the last batch */
    /* results of a batch */
    csync_batch *batch; /* yours */
    cs_buf next; /* the cursor behind it */
    int64_t top; /* of the log */
    int counted; /* what the peer lacks is not forgotten */
} cs_push;
/* What the peer lacks, as far as it is known. */
int cs_page_push(csync *c, cs_push *push, csync_error *err);
#endif
