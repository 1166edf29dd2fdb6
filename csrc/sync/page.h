/* page.h - pages of this replica's log. */
#ifndef CS_PAGE_H
#define CS_PAGE_H
#include "sync/replica.h"

/* What others ask for: complete, hashed, with this replica as origin. */
int cs_page_serve(csync *c, const csync_fetch *fetch, csync_batch **out, csync_error *err);
/* What `peer` lacks of this replica's log, as far as it is known; without what came from it. */
int cs_page_push(csync *c, const char *peer, const csync_sync_options *options, csync_batch **out,
                 int64_t *top, csync_error *err);
#endif
