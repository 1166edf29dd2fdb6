/* outcomes.h - csync.Outcomes. */
#ifndef CSPY_OUTCOMES_H
#define CSPY_OUTCOMES_H
#include "state.h"

/* A new csync.Outcomes that takes over `outcome`, also when it fails. */
PyObject *cspy_outcomes_take(cspy_state *state, csync_outcome *outcome);
/* Makes the answer of a send (None, Outcomes, or a Result that has them) into an outcome for the core to own;
 * None leaves *out NULL. 0, or -1 with an exception. */
int cspy_outcomes_give(cspy_state *state, PyObject *answer, csync_outcome **out);

#endif
