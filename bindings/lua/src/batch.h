/* batch.h - csync.Batch: changes in order, and where they stand in a log. Cannot be altered. */
#ifndef CSL_BATCH_H
#define CSL_BATCH_H
#include "convert.h"

typedef struct csl_batch {
    csync_batch *batch; /* NULL: the core has not made it */
} csl_batch;

/* Pushes a Batch for the core to fill. */
csl_batch *csl_batch_new(lua_State *L);
/* Pushes a Batch with a copy. */
int csl_batch_copy(lua_State *L, const csync_batch *from, csync_error *err);
/* The Batch at `index`, or a new one, pushed, of the list of Changes there. Pushes one value in either case. NULL: `err`.
 * Raises for anything else. */
const csync_batch *csl_batch_read(lua_State *L, int index, csync_error *err);
/* The same for the core to keep. */
int csl_batch_give(lua_State *L, int index, csync_batch **out, csync_error *err);

void csl_open_batch(lua_State *L);

#endif
