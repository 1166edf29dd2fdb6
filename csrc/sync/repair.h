/* repair.h - rows that are not what their heads say, made so again. */
#ifndef CS_REPAIR_H
#define CS_REPAIR_H
#include "sync/replica.h"

typedef struct cs_repair {
    const cs_change *change; /* with the stamp of the row's head: the row to be written, or that there is none */
    int is_done;
    const char *reason; /* static text: why the row is as it was; NULL: it is done */
} cs_repair;

/* One transaction, under the heads as they are: nothing is stamped, logged or captured. A row whose head has another
 * stamp by now is left alone. CSYNC_EPROTO: a change is malformed. Enters the replica. */
int cs_repair_rows(csync *c, cs_repair *items, size_t count, csync_error *err);
#endif
