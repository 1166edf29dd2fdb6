/* api_remote.h - what the callers of a remote's functions share. */
#ifndef CS_API_REMOTE_H
#define CS_API_REMOTE_H
#include "csync.h"

/* What the remote's function returned, as a code of the list, described if it did not do so itself. */
int cs_remote_code(int rc, const char *function, csync_error *err);
#endif
