/* batch.c - csync.Batch. */
#include "batch.h"

#include <stdio.h>

csl_batch *csl_batch_new(lua_State *L)
{
    return csl_new(L, CSL_BATCH, sizeof(csl_batch));
}

/* A batch that was never given a position must stay without one. */
static int has_position(const csync_batch_info *info)
{
    return info->origin || info->epoch || info->from_version || info->to_version ||
           info->has_more || info->hash[0] || info->cursor;
}

static int copy(csync_batch **to, const csync_batch *from, csync_error *err)
{
    csync_batch_info info = {.struct_size = sizeof info};
    int rc = csync_batch_new(to, err);

    for (size_t i = 0; rc == 0 && i < csync_batch_count(from); i++)
        rc = csync_batch_add(*to, csync_batch_at(from, i), err);
    if (rc == 0 && csync_batch_get_info(from, &info) == 0 && has_position(&info))
        rc = csync_batch_set_info(*to, &info, err);
    return rc;
}

int csl_batch_copy(lua_State *L, const csync_batch *from, csync_error *err)
{
    return copy(&csl_batch_new(L)->batch, from, err);
}

static int fill(lua_State *L, int list, csync_batch *to, csync_error *err)
{
    csync_change change;
    int rc = CSYNC_OK;

    for (int i = 1; rc == 0; i++) {
        lua_rawgeti(L, list, i);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            break;
        }
        rc = csl_read_change(L, lua_gettop(L), &change, err);
        if (rc == 0)
            rc = csync_batch_add(to, &change, err);
        lua_pop(L, 1);
    }
    return rc;
}

const csync_batch *csl_batch_read(lua_State *L, int index, csync_error *err)
{
    csl_batch *batch = csl_test(L, index, CSL_BATCH);

    if (batch) {
        lua_pushvalue(L, index);
        return batch->batch;
    }
    if (!lua_istable(L, index) || csl_is(L, index, CSL_CHANGE))
        luaL_error(L, "expected a csync.Batch or a list of csync.Change, not %s",
                   csl_is(L, index, CSL_CHANGE) ? "one Change" : luaL_typename(L, index));
    batch = csl_batch_new(L);
    if (csync_batch_new(&batch->batch, err) || fill(L, index, batch->batch, err))
        return NULL;
    return batch->batch;
}

int csl_batch_give(lua_State *L, int index, csync_batch **out, csync_error *err)
{
    csl_batch *batch = csl_test(L, index, CSL_BATCH);

    if (batch) {
        int rc = csl_batch_copy(L, batch->batch, err);
        if (rc)
            return rc;
    } else if (!csl_batch_read(L, index, err)) {
        return err->code;
    }
    batch = lua_touserdata(L, -1);
    *out = batch->batch;
    batch->batch = NULL; /* nobody has seen this one */
    return CSYNC_OK;
}

/* ---- the type ------------------------------------------------------------------------------------ */

static const csync_batch *check(lua_State *L)
{
    csl_batch *self = luaL_checkudata(L, 1, CSL_BATCH);

    if (!self->batch)
        luaL_error(L, "the batch was not made");
    return self->batch;
}

static int batch_free(lua_State *L)
{
    csl_batch *self = luaL_checkudata(L, 1, CSL_BATCH);

    csync_batch_free(self->batch);
    self->batch = NULL;
    return 0;
}

static int batch_length(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)csync_batch_count(check(L)));
    return 1;
}

static int batch_tostring(lua_State *L)
{
    const csync_batch *self = check(L);
    csync_batch_info info = {.struct_size = sizeof info};
    char text[120];

    csync_batch_get_info(self, &info);
    snprintf(text, sizeof text, "csync.Batch of %zu changes, versions %lld to %lld%s",
             csync_batch_count(self), (long long)info.from_version, (long long)info.to_version,
             info.has_more ? ", more follow" : "");
    lua_pushstring(L, text);
    return 1;
}

static int push_text_field(lua_State *L, const csync_batch_info *info, const char *name)
{
    if (strcmp(name, "origin") == 0)
        csl_push_text(L, info->origin);
    else if (strcmp(name, "epoch") == 0)
        csl_push_text(L, info->epoch);
    else if (strcmp(name, "cursor") == 0)
        csl_push_text(L, info->cursor);
    else if (strcmp(name, "hash") == 0)
        csl_push_text(L, info->hash);
    else
        lua_pushnil(L);
    return 1;
}

/* batch[i], 1 is the first; or a field. */
static int batch_field(lua_State *L)
{
    const csync_batch *self = check(L);
    csync_batch_info info = {.struct_size = sizeof info};
    int64_t i = 0;
    const char *name;

    if (lua_type(L, 2) == LUA_TNUMBER) {
        if (csl_to_integer(L, 2, &i) && i > 0)
            csl_push_change(L, csync_batch_at(self, (size_t)i - 1));
        else
            lua_pushnil(L);
        return 1;
    }
    name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    csync_batch_get_info(self, &info);
    if (strcmp(name, "from_version") == 0)
        csl_push_integer(L, info.from_version);
    else if (strcmp(name, "to_version") == 0)
        csl_push_integer(L, info.to_version);
    else if (strcmp(name, "has_more") == 0)
        lua_pushboolean(L, info.has_more);
    else
        push_text_field(L, &info, name);
    return 1;
}

static int batch_to_json(lua_State *L)
{
    const csync_batch *self = check(L);
    csync_error err = CSYNC_ERROR_INIT;
    char **box = csl_text_box(L);
    size_t length = 0;

    if (csync_batch_to_json(self, box, &length, &err))
        return csl_fail(L, &err);
    csl_push_boxed(L, box);
    return 1;
}

/* core.batch_from_json(text) */
static int batch_from_json(lua_State *L)
{
    csync_error err = CSYNC_ERROR_INIT;
    size_t length;
    const char *json = luaL_checklstring(L, 1, &length);
    csl_batch *made = csl_batch_new(L);

    if (csync_batch_from_json(&made->batch, json, length, &err))
        return csl_fail(L, &err);
    return 1;
}

static const char *text_option(lua_State *L, const char *name)
{
    const char *text = NULL;

    lua_getfield(L, 2, name);
    if (!lua_isnil(L, -1))
        text = luaL_checkstring(L, -1);
    return text; /* it stays on the stack */
}

static int64_t integer_option(lua_State *L, const char *name)
{
    int64_t value = 0;

    lua_getfield(L, 2, name);
    if (!lua_isnil(L, -1) && !csl_to_integer(L, -1, &value))
        luaL_error(L, "%s must be an integer", name);
    lua_pop(L, 1);
    return value;
}

static void read_info(lua_State *L, csync_batch_info *info)
{
    const char *hash = text_option(L, "hash");

    info->origin = text_option(L, "origin");
    info->from_version = integer_option(L, "from_version");
    info->to_version = integer_option(L, "to_version");
    lua_getfield(L, 2, "has_more");
    info->has_more = lua_toboolean(L, -1);
    if (hash && strlen(hash) >= sizeof info->hash)
        luaL_error(L, "a hash has 64 hex digits, not %d", (int)strlen(hash));
    if (hash)
        memcpy(info->hash, hash, strlen(hash) + 1);
}

/* core.batch_new(list, options or nil) */
static int batch_new(lua_State *L)
{
    csync_batch_info info = {.struct_size = sizeof info};
    csync_error err = CSYNC_ERROR_INIT;
    csl_batch *made;

    lua_settop(L, 2);
    if (!lua_isnil(L, 2))
        read_info(L, &info);
    if (csl_test(L, 1, CSL_BATCH)) {
        made = lua_touserdata(L, 1);
        if (csl_batch_copy(L, made->batch, &err))
            return csl_fail(L, &err);
    } else if (!csl_batch_read(L, 1, &err)) {
        return csl_fail(L, &err);
    }
    made = lua_touserdata(L, -1);
    if (!lua_isnil(L, 2) && csync_batch_set_info(made->batch, &info, &err))
        return csl_fail(L, &err);
    return 1;
}

/* core.batch_hash(batch or list) */
static int batch_hash(lua_State *L)
{
    csync_error err = CSYNC_ERROR_INIT;
    char hex[CSYNC_HASH_SIZE];
    const csync_batch *batch = csl_batch_read(L, 1, &err);

    if (!batch || csync_batch_hash(batch, hex, &err))
        return csl_fail(L, &err);
    lua_pushstring(L, hex);
    return 1;
}

void csl_open_batch(lua_State *L)
{
    static const luaL_Reg meta[] = {
        {"__gc", batch_free}, {"__len", batch_length}, {"__tostring", batch_tostring}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"to_json", batch_to_json}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"batch_new", batch_new},
                                         {"batch_from_json", batch_from_json},
                                         {"batch_hash", batch_hash},
                                         {NULL, NULL}};

    csl_type(L, CSL_BATCH, "Batch", meta, methods, batch_field);
    csl_setfuncs(L, functions);
}
