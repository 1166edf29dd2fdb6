/* subscribe.h - being told of changes: the log is the queue, the database's files say when to look. */
#ifndef CS_SUBSCRIBE_H
#define CS_SUBSCRIBE_H
#include "sync/replica.h"

/* Inside a call on the replica. */
int cs_subscription_create(csync_subscription **out, csync *c,
                           const csync_subscribe_options *options, csync_error *err);
int cs_subscription_forget(csync *c, const char *id, csync_error *err);
/* The rest run outside any call. *out NULL: none within the time. */
int cs_subscription_next(csync_subscription *s, int timeout_ms, csync_batch **out, csync_error *err);
int cs_subscription_fd(const csync_subscription *s);
void cs_subscription_wake(csync_subscription *s);
const char *cs_subscription_id(const csync_subscription *s);
int64_t cs_subscription_version(const csync_subscription *s);
void cs_subscription_close(csync_subscription *s);
#endif
