/* bind.c - finding the one copy of SQLite that this process uses.
 *
 * Two copies in one process break each other's POSIX locks (sqlite.org/howtocorrupt.html, section 2.2.1),
 * so csync brings none and refuses a second. The function table is what SQLite hands to an automatic
 * extension when a connection is opened; four symbols are enough to get there. */
#include <dlfcn.h>
#include <pthread.h>

#include "backend/sqlite/sqlite.h"
#include "base/error.h"

typedef int (*entry_fn)(sqlite3 *db, char **message, const sqlite3_api_routines *api);
typedef struct symbols {
    int (*auto_extension)(void (*entry)(void));
    int (*cancel_auto_extension)(void (*entry)(void));
    int (*open)(const char *path, sqlite3 **db);
    int (*close)(sqlite3 *db);
} symbols;

static pthread_mutex_t bind_mutex = PTHREAD_MUTEX_INITIALIZER;
static const sqlite3_api_routines *bound; /* guarded by bind_mutex */
static const sqlite3_api_routines *captured; /* guarded by bind_mutex */

static int capture(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    (void)db;
    (void)message;
    captured = api;
    return SQLITE_OK;
}

static int find_symbols(void *handle, symbols *s)
{
    /* ISO C has no cast from object to function pointer; POSIX guarantees the representation */
    *(void **)&s->auto_extension = dlsym(handle, "sqlite3_auto_extension");
    *(void **)&s->cancel_auto_extension = dlsym(handle, "sqlite3_cancel_auto_extension");
    *(void **)&s->open = dlsym(handle, "sqlite3_open");
    *(void **)&s->close = dlsym(handle, "sqlite3_close");
    return s->auto_extension && s->cancel_auto_extension && s->open && s->close;
}

static const sqlite3_api_routines *table_of(const symbols *s)
{
    void (*entry)(void) = (void (*)(void))(entry_fn)capture;
    sqlite3 *db = NULL;

    captured = NULL;
    if (s->auto_extension(entry) != SQLITE_OK)
        return NULL;
    (void)s->open(":memory:", &db);
    s->close(db);
    s->cancel_auto_extension(entry);
    return captured;
}

/* With the mutex held. */
static int adopt(const sqlite3_api_routines *api, csync_error *err)
{
    int version = api->libversion_number();

    if (version < SQ_MIN_VERSION)
        return cs_fail(err, CSYNC_EUNSUPPORTED, "SQLite %s is too old: csync needs 3.38 or newer",
                       api->libversion());
    if (bound && bound != api)
        return cs_fail(err, CSYNC_EUNSUPPORTED,
                       "another copy of SQLite is already in use in this process; two copies would "
                       "break each other's file locks");
    bound = api;
    return CSYNC_OK;
}

static void *default_library(void)
{
    void *handle = dlopen("libsqlite3.so.0", RTLD_NOLOAD | RTLD_NOW);

    return handle ? handle : dlopen("libsqlite3.so.0", RTLD_NOW);
}

int cs_sqlite_bind(void *dl_handle, csync_error *err)
{
    const sqlite3_api_routines *api;
    symbols s;
    int rc;

    pthread_mutex_lock(&bind_mutex);
    if (!dl_handle)
        dl_handle = default_library();
    if (!dl_handle || !find_symbols(dl_handle, &s)) {
        rc = cs_fail(err, CSYNC_EUNSUPPORTED,
                     "no SQLite library found (Debian: apt install libsqlite3-0)");
    } else if ((api = table_of(&s)) == NULL) {
        rc = cs_fail(err, CSYNC_EUNSUPPORTED, "this copy of SQLite has no extension interface");
    } else {
        rc = adopt(api, err);
    }
    pthread_mutex_unlock(&bind_mutex);
    return rc;
}

int sq_bind_api(const sqlite3_api_routines *api, csync_error *err)
{
    int rc;

    pthread_mutex_lock(&bind_mutex);
    rc = adopt(api, err);
    pthread_mutex_unlock(&bind_mutex);
    return rc;
}

int sq_bound(const sqlite3_api_routines **api, csync_error *err)
{
    int rc = CSYNC_OK;

    pthread_mutex_lock(&bind_mutex);
    *api = bound;
    pthread_mutex_unlock(&bind_mutex);
    if (!*api && (rc = cs_sqlite_bind(NULL, err)) == CSYNC_OK)
        rc = sq_bound(api, err);
    return rc;
}
