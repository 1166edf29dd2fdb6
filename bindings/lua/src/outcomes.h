/* outcomes.h - csync.Outcomes: what became of each change of a batch. Cannot be altered. */
#ifndef CSL_OUTCOMES_H
#define CSL_OUTCOMES_H
#include "convert.h"

typedef struct csl_outcomes {
    csync_outcome *outcome; /* NULL: the core has not made it */
} csl_outcomes;

/* Pushes an Outcomes for the core to fill. */
csl_outcomes *csl_outcomes_new(lua_State *L);
/* A copy for the core to keep of the Outcomes at `index`, or of the one in the table there (a Result); nil: NULL, all
 * taken. Raises for anything else. */
int csl_outcomes_give(lua_State *L, int index, csync_outcome **out, csync_error *err);

void csl_open_outcomes(lua_State *L);

#endif
