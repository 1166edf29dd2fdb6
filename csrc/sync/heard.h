/* heard.h - who has heard of deletes that are forgotten.
 *
 * A replica that has forgotten deletes takes an unknown old row only from whoever has heard of them: whose position in
 * its log is beyond them (apply.c). Whoever reads its snapshot never hears of them and cannot pass them on, so it keeps
 * what the snapshot's maker has forgotten as its own: it takes such a row only from the maker, or from a peer that says
 * that it has heard of it in the maker's log. */
#ifndef CS_SYNC_HEARD_H
#define CS_SYNC_HEARD_H
#include "sync/replica.h"

/* What this replica has heard, on a batch that it makes. */
int cs_heard_say(csync *c, csync_batch *batch, csync_error *err);
/* Raises *ts to the latest timestamp of a delete that is forgotten elsewhere and that the batch's maker has not heard of. */
int cs_heard_suspect(csync *c, const csync_batch *batch, int64_t *ts, csync_error *err);
/* Raises *ts to the latest timestamp of a delete that whoever reads the maker's log does not hear of. */
int cs_heard_floor(const csync_batch *batch, int64_t *ts, csync_error *err);
/* The last page of a snapshot, which began at version `at` of the maker's log, was applied. */
int cs_heard_inherit(csync *c, const csync_batch *page, int64_t at, csync_error *err);
#endif
