/* session.h - a sync as a machine without I/O: it says what it needs and is fed the answers. */
#ifndef CS_SESSION_H
#define CS_SESSION_H
#include "sync/replica.h"

/* All but create and destroy run inside a call on the replica. `peer` is a name. */
int cs_session_create(csync_session **out, csync *c, const char *peer,
                      const csync_sync_options *options, csync_error *err);
csync *cs_session_replica(const csync_session *s);
int cs_session_next(csync_session *s, csync_step *step, csync_error *err);
int cs_session_page(csync_session *s, const csync_batch *page, csync_error *err);
int cs_session_outcome(csync_session *s, const csync_outcome *outcome, csync_error *err);
int cs_session_refused(csync_session *s, const csync_error *why, csync_error *err);
csync_result cs_session_result(const csync_session *s);
void cs_session_destroy(csync_session *s);
#endif
