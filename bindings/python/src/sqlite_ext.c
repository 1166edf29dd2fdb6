/* sqlite_ext.c - this module as an SQLite extension. The only file of the binding that knows SQLite, and
 * only through the table of functions that it is handed. */
#include "sqlite_ext.h"

#include <sqlite3ext.h>

#define FUNCTION "csync_python_attach"
#define FLAGS (SQLITE_UTF8 | SQLITE_DIRECTONLY)

/* The SQL runs on the thread that waits, so no lock and no table is needed. */
static _Thread_local cspy_attach *waiting;

/* Each connection brings its table as the function's user data; the macros of sqlite3ext.h look for the name
 * sqlite3_api, and a local one keeps two copies of SQLite in one process apart. */
static void attach(sqlite3_context *context, int n, sqlite3_value **values)
{
    cspy_attach *mine = waiting;
    const sqlite3_api_routines *sqlite3_api = mine == NULL ? NULL : mine->api;
    const char *token;

    (void)n;
    if (sqlite3_api == NULL)
        return; /* nobody waits: NULL, and nothing happens */
    token = (const char *)sqlite3_value_text(values[0]);
    if (token != NULL && strcmp(token, mine->token) == 0)
        mine->db = sqlite3_context_db_handle(context);
}

/* The entry point. Does nothing on a thread on which csync.open does not wait. */
__attribute__((visibility("default"))) int sqlite3_csync_init(sqlite3 *db, char **message,
                                                              const sqlite3_api_routines *sqlite3_api)
{
    (void)message;
    if (waiting == NULL)
        return SQLITE_OK;
    waiting->api = sqlite3_api;
    return sqlite3_create_function_v2(db, FUNCTION, 1, FLAGS, NULL, attach, NULL, NULL, NULL);
}

void cspy_attach_begin(cspy_attach *attach, const char *token)
{
    memset(attach, 0, sizeof *attach);
    attach->token = token;
    attach->outer = waiting;
    waiting = attach;
}

int cspy_attach_end(cspy_attach *attach)
{
    const sqlite3_api_routines *sqlite3_api = attach->api;

    waiting = attach->outer;
    attach->token = NULL;
    if (attach->db == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the connection did not load csync as an SQLite extension");
        return -1;
    }
    sqlite3_create_function_v2(attach->db, FUNCTION, 1, FLAGS, NULL, NULL, NULL, NULL, NULL);
    sqlite3_prepare_v2(attach->db, "SELECT 1", -1, (sqlite3_stmt **)&attach->anchor, NULL);
    return 0;
}

void cspy_attach_release(cspy_attach *attach)
{
    const sqlite3_api_routines *sqlite3_api = attach->api;

    if (attach->anchor != NULL)
        sqlite3_finalize(attach->anchor);
    memset(attach, 0, sizeof *attach);
}
