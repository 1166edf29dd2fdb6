/* convert.c - changes, positions and results. */
#include "convert.h"

static const char *const operations[] = {"insert", "update", "delete"};

static void push_operation(lua_State *L, int operation)
{
    lua_pushstring(L, operation >= 1 && operation <= 3 ? operations[operation - 1] : "unknown");
    lua_setfield(L, -2, "operation");
}

void csl_push_change(lua_State *L, const csync_change *change)
{
    if (!change) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, 10);
    csl_set_integer(L, "version", change->version);
    csl_set_text(L, "table_name", change->table);
    csl_set_text(L, "pk_json", change->pk);
    push_operation(L, change->operation);
    csl_set_text(L, "payload_json", change->payload);
    csl_set_text(L, "origin", change->origin);
    csl_set_text(L, "timestamp", change->timestamp);
    if (change->seq)
        csl_set_integer(L, "seq", change->seq);
    luaL_getmetatable(L, CSL_CHANGE);
    lua_setmetatable(L, -2);
}

static void raw_field(lua_State *L, int index, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, index);
}

/* The text stays alive in the table. */
static int read_text(lua_State *L, int index, const char *name, const char **out, csync_error *err)
{
    size_t length;
    int rc = CSYNC_OK;

    raw_field(L, index, name);
    if (lua_type(L, -1) == LUA_TSTRING) {
        *out = lua_tolstring(L, -1, &length);
        if (strlen(*out) != length)
            rc = csl_error_set(err, CSYNC_EINVAL, "%s of a change holds a NUL character", name);
    } else if (!lua_isnil(L, -1)) {
        luaL_error(L, "%s of a change is a %s, not a string", name, luaL_typename(L, -1));
    }
    lua_pop(L, 1);
    return rc;
}

static int64_t read_integer(lua_State *L, int index, const char *name)
{
    int64_t value = 0;

    raw_field(L, index, name);
    if (!lua_isnil(L, -1) && !csl_to_integer(L, -1, &value))
        luaL_error(L, "%s of a change is no integer", name);
    lua_pop(L, 1);
    return value;
}

static int operation_code(const char *text)
{
    for (int i = 0; text && i < 3; i++)
        if (strcmp(text, operations[i]) == 0)
            return i + 1;
    return 0;
}

int csl_read_change(lua_State *L, int index, csync_change *out, csync_error *err)
{
    const char *operation = NULL;
    int rc;

    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    if (!lua_istable(L, index) || !csl_is(L, index, CSL_CHANGE))
        luaL_error(L, "expected a csync.Change, not a %s", luaL_typename(L, index));
    out->version = read_integer(L, index, "version");
    out->seq = read_integer(L, index, "seq");
    rc = read_text(L, index, "operation", &operation, err);
    if (!rc)
        rc = read_text(L, index, "table_name", &out->table, err);
    if (!rc)
        rc = read_text(L, index, "pk_json", &out->pk, err);
    if (!rc)
        rc = read_text(L, index, "payload_json", &out->payload, err);
    if (!rc)
        rc = read_text(L, index, "origin", &out->origin, err);
    if (!rc)
        rc = read_text(L, index, "timestamp", &out->timestamp, err);
    out->operation = operation_code(operation);
    return rc;
}

void csl_push_position(lua_State *L, const csync_fetch *fetch)
{
    lua_createtable(L, 0, 4);
    csl_set_integer(L, "version", fetch->since);
    csl_set_text(L, "epoch", fetch->epoch);
    csl_set_text(L, "origin", fetch->origin);
    csl_set_text(L, "cursor", fetch->cursor);
    luaL_getmetatable(L, CSL_POSITION);
    lua_setmetatable(L, -2);
}

void csl_push_result(lua_State *L, const csync_result *r)
{
    lua_createtable(L, 0, 13);
    csl_set_integer(L, "pulled", r->pulled);
    csl_set_integer(L, "pushed", r->pushed);
    csl_set_integer(L, "duplicates", r->duplicates);
    csl_set_integer(L, "lost", r->lost);
    csl_set_integer(L, "conflicts", r->conflicts);
    csl_set_integer(L, "parked", r->parked);
    csl_set_integer(L, "rejected", r->rejected);
    csl_set_integer(L, "batches", r->batches);
    csl_set_integer(L, "bytes", r->bytes);
    csl_set_integer(L, "repaired", r->repaired);
    csl_set_integer(L, "ahead_ms", r->ahead_ms);
    csl_set_integer(L, "resyncs", r->resyncs);
}
