/* libpq.c - opens libpq when the first PostgreSQL database is opened. */
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "backend/postgres/postgres.h"

static pg_libpq_table table;
static int loaded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
#define PG_ENTRY(name) {#name, offsetof(pg_libpq_table, name)},
    PG_FUNCTIONS(PG_ENTRY)
#undef PG_ENTRY
};

static int load(csync_error *err)
{
    void *library = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return cs_fail(err, CSYNC_EUNSUPPORTED,
                       "libpq, which PostgreSQL needs, cannot be opened (Debian: libpq5): %s",
                       dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *function = dlsym(library, functions[i].name);

        if (!function)
            return cs_fail(err, CSYNC_EUNSUPPORTED, "this libpq has no %s", functions[i].name);
        memcpy((char *)&table + functions[i].offset, &function, sizeof function);
    }
    loaded = 1;
    return CSYNC_OK;
}

int pg_libpq(const pg_libpq_table **out, csync_error *err)
{
    int rc;

    pthread_mutex_lock(&lock);
    rc = loaded ? CSYNC_OK : load(err);
    pthread_mutex_unlock(&lock);
    *out = &table;
    return rc;
}
