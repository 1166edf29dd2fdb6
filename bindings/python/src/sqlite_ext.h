/* sqlite_ext.h - how csync reaches the sqlite3 * inside a connection of Python's own sqlite3 module. */
#ifndef CSPY_SQLITE_EXT_H
#define CSPY_SQLITE_EXT_H
#include "state.h"

/* Loaded as an SQLite extension this object registers the SQL function csync_python_attach(token). While
 * one of these waits on the calling thread, the function called with its token fills db and api. */
typedef struct cspy_attach {
    const char *token;
    void *db; /* sqlite3 *, or NULL: not called yet */
    const void *api; /* sqlite3_api_routines * of the SQLite copy that made it */
    void *anchor; /* a prepared statement: keeps db's memory alive when the connection is closed first */
    struct cspy_attach *outer;
} cspy_attach;

void cspy_attach_begin(cspy_attach *attach, const char *token);
/* Stops waiting. 0, or -1 with an exception: the function was not called. */
int cspy_attach_end(cspy_attach *attach);
/* After csync_close. */
void cspy_attach_release(cspy_attach *attach);

#endif
