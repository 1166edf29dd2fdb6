/* scope.h - the tables that somebody may see of a replica.
 *
 * A position that was reached by reading some tables only is none of the whole log: it carries the mark of the scope that it
 * was read in (model/epoch.h), so that a reader who may see more one day reads what it was not given. */
#ifndef CS_SCOPE_H
#define CS_SCOPE_H
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "csync.h"

typedef struct cs_scope {
    const char *const *tables; /* exact names, borrowed */
    size_t count; /* 0: every table */
} cs_scope;

int cs_scope_has(const cs_scope *scope, const char *table);
/* The same for the same names, whatever their order; 0: every table. */
uint32_t cs_scope_mark(const cs_scope *scope);
/* Copies it and its names into the arena. CSYNC_ENOMEM */
int cs_scope_copy(cs_scope *out, const cs_scope *scope, cs_arena *arena, csync_error *err);
int cs_scope_same(const cs_scope *a, const cs_scope *b);
/* CSYNC_EMISUSE: names are NULL. CSYNC_EINVAL: one is empty. */
int cs_scope_check(const cs_scope *scope, csync_error *err);
#endif
