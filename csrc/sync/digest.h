/* digest.h - digests of this replica's tables, for a peer that compares them with its own. */
#ifndef CS_SYNC_DIGEST_H
#define CS_SYNC_DIGEST_H
#include "sync/replica.h"

/* Answers a request (codec/digest.h). Runs inside a call on the replica. */
int cs_digest_serve(csync *c, const char *request, char **answer, csync_error *err);
#endif
