/* library.h - libraries that are opened at run time, when they are needed first. */
#ifndef CS_LIBRARY_H
#define CS_LIBRARY_H
#include <stddef.h>

#include "base/error.h"

typedef struct cs_symbol {
    const char *name;
    size_t offset; /* of the pointer to it, in the table of functions */
} cs_symbol;

typedef struct cs_library {
    const char *name, *file, *purpose,
        *package; /* "libpq", "libpq.so.5", "PostgreSQL needs", "libpq5" */
    const cs_symbol *symbols;
    size_t symbol_count;
} cs_library;

/* The entry of one function in a list of cs_symbol, for a table whose members have the functions' names. */
#define CS_SYMBOL(table, function) {#function, offsetof(table, function)},

/* Fills the table *out. `handle`: of a copy that is open already; NULL: the system's, which is never closed, as it may be
 * the process's own. CSYNC_EUNSUPPORTED: it is not there, or lacks a function. */
int cs_library_open(const cs_library *library, void *handle, void *out, csync_error *err);
#endif
