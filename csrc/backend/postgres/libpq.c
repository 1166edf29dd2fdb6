/* libpq.c - finds libpq when a PostgreSQL database is opened. */
#include "backend/postgres/postgres.h"
#include "base/library.h"

#define PG_ENTRY(name) CS_SYMBOL(pg_libpq_table, name)
static const cs_symbol functions[] = {PG_FUNCTIONS(PG_ENTRY)};
#undef PG_ENTRY

static const cs_library libpq = {"libpq",  "libpq.so.5", "PostgreSQL needs",
                                 "libpq5", functions,    sizeof functions / sizeof *functions};

int pg_libpq(void *library, pg_libpq_table *out, csync_error *err)
{
    return cs_library_open(&libpq, library, out, err);
}
