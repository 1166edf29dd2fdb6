/* grant.h - csync.Grant as the core reads it. */
#ifndef CSPY_GRANT_H
#define CSPY_GRANT_H
#include "state.h"

/* The names in a tuple of str, borrowed from it, in an array for PyMem_Free; *count 0: NULL. -1 with an exception. */
int cspy_read_names(PyObject *tuple, const char *const **names, size_t *count);
/* Reads (token_hash, client, database, may, expires_ms, tables), which has to outlive the grant. -1 with an exception. */
int cspy_grant_read(PyObject *tuple, csync_grant *grant);
void cspy_grant_free(csync_grant *grant); /* what it points to; zeroed is fine */
#endif
