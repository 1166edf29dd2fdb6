/* scope.c - the tables that somebody may see of a replica. */
#include "model/scope.h"

#include <string.h>

#include "base/error.h"

int cs_scope_has(const cs_scope *scope, const char *table)
{
    for (size_t i = 0; i < scope->count; i++)
        if (strcmp(scope->tables[i], table) == 0)
            return 1;
    return scope->count == 0;
}

int cs_scope_copy(cs_scope *out, const cs_scope *scope, cs_arena *arena, csync_error *err)
{
    const char **tables = NULL;

    *out = (cs_scope){NULL, 0};
    if (!scope->count)
        return CSYNC_OK;
    tables = cs_arena_alloc(arena, scope->count * sizeof *tables);
    for (size_t i = 0; tables && i < scope->count; i++) {
        tables[i] = cs_arena_copy(arena, scope->tables[i], strlen(scope->tables[i]));
        if (!tables[i])
            return cs_fail_nomem(err);
    }
    if (!tables)
        return cs_fail_nomem(err);
    *out = (cs_scope){tables, scope->count};
    return CSYNC_OK;
}

static int holds(const cs_scope *scope, const cs_scope *part)
{
    for (size_t i = 0; i < part->count; i++)
        if (!cs_scope_has(scope, part->tables[i]))
            return 0;
    return 1;
}

int cs_scope_same(const cs_scope *a, const cs_scope *b)
{
    return !a->count == !b->count && holds(a, b) && holds(b, a);
}

static uint32_t mark_of(const char *name)
{
    uint32_t mark = 2166136261u;

    for (; *name; name++)
        mark = (mark ^ (unsigned char)*name) * 16777619u; /* FNV-1a */
    return mark;
}

uint32_t cs_scope_mark(const cs_scope *scope)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < scope->count; i++)
        sum += mark_of(scope->tables[i]);
    return sum || !scope->count ? sum : 1;
}

int cs_scope_check(const cs_scope *scope, csync_error *err)
{
    if (scope->count && !scope->tables)
        return cs_fail(err, CSYNC_EMISUSE, "tables is NULL");
    for (size_t i = 0; i < scope->count; i++) {
        if (!scope->tables[i])
            return cs_fail(err, CSYNC_EMISUSE, "the name of a table is NULL");
        if (!*scope->tables[i])
            return cs_fail(err, CSYNC_EINVAL, "the name of a table is empty");
    }
    return CSYNC_OK;
}
