/* libpq.c - finds libpq when a PostgreSQL database is opened. */
#include <dlfcn.h>
#include <string.h>

#include "backend/postgres/postgres.h"

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
#define PG_ENTRY(name) {#name, offsetof(pg_libpq_table, name)},
    PG_FUNCTIONS(PG_ENTRY)
#undef PG_ENTRY
};

/* Never closed: connections that the application made with it may be open. */
int pg_libpq(void *library, pg_libpq_table *out, csync_error *err)
{
    if (!library)
        library = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return cs_fail(err, CSYNC_EUNSUPPORTED,
                       "libpq, which PostgreSQL needs, cannot be opened (Debian: libpq5): %s",
                       dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *function = dlsym(library, functions[i].name);

        if (!function)
            return cs_fail(err, CSYNC_EUNSUPPORTED, "this libpq has no %s", functions[i].name);
        memcpy((char *)out + functions[i].offset, &function, sizeof function);
    }
    return CSYNC_OK;
}
