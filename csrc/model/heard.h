/* heard.h - which deletes of others a replica has heard of. */
#ifndef CS_HEARD_H
#define CS_HEARD_H
#include "base/error.h"
#include "csync.h"

/* All that `origin` deleted up to `version` of its log. */
typedef struct cs_heard {
    char origin[CSYNC_ORIGIN_SIZE];
    int64_t version;
    int64_t ts; /* not 0: from a snapshot, so whoever reads this replica's log does not hear of those of them that
                   `origin` has forgotten; none has a later timestamp. 0: from its log */
} cs_heard;

typedef int (*cs_heard_visit)(void *ctx, const cs_heard *heard, csync_error *err);
#endif
