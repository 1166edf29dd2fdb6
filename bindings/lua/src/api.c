/* api.c - csync.Api: the REST API as a function from request to response, for whatever server the host has. */
#include <openssl/sha.h>
#include <stdio.h>

#include "replica.h"

enum { HEADERS_MAX = 200, DATABASES_MAX = 64, TABLES_MAX = 256 };

typedef struct api {
    csync_api *handle;
    int count;
    csl_replica *replicas[DATABASES_MAX]; /* kept alive as this userdata's own table */
} api;

static api *check(lua_State *L)
{
    api *self = luaL_checkudata(L, 1, CSL_API);

    if (!self->handle)
        luaL_error(L, "the API is closed");
    return self;
}

/* ---- making one ---------------------------------------------------------------------------------- */

/* core.api_new(max_body) */
static int api_new(lua_State *L)
{
    csync_api_options options = {.struct_size = sizeof options, .max_body = csl_check_integer(L, 1)};
    csync_error err = CSYNC_ERROR_INIT;
    api *self = csl_new(L, CSL_API, sizeof *self);

    lua_newtable(L);
    csl_keep(L, -2);
    if (csync_api_new(&self->handle, &options, &err))
        return csl_fail(L, &err);
    return 1;
}

/* api:_add(name, replica) */
static int api_add(lua_State *L)
{
    api *self = check(L);
    const char *name = luaL_checkstring(L, 2);
    csl_replica *replica = csl_replica_check(L, 3);
    csync_error err = CSYNC_ERROR_INIT;
    int rc;

    if (self->count == DATABASES_MAX)
        return luaL_error(L, "an API serves at most %d databases", DATABASES_MAX);
    csl_kept(L, 1);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, self->count + 1);
    rc = csync_api_add(self->handle, name, csl_replica_enter(replica), &err);
    csl_replica_leave(replica);
    if (rc)
        return csl_fail(L, &err);
    self->replicas[self->count++] = replica;
    lua_pushboolean(L, 1);
    return 1;
}

static void hash_token(const char *token, size_t length, char hex[CSYNC_HASH_SIZE])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];

    SHA256((const unsigned char *)token, length, digest);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hex + i * 2, 3, "%02x", digest[i]);
}

/* The names in the table at `index` (none or nil: no names), which keeps the texts alive. */
static size_t read_names(lua_State *L, int index, const char **names)
{
    size_t count = lua_isnoneornil(L, index) ? 0 : csl_rawlen(L, index);

    luaL_argcheck(L, count <= TABLES_MAX, index, "too many tables");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index, "a table's name is no string");
        names[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    return count;
}

/* api:_grant(token, client, database, may, tables, expires_ms) */
static int api_grant(lua_State *L)
{
    api *self = check(L);
    size_t length;
    const char *token = luaL_checklstring(L, 2, &length);
    char hex[CSYNC_HASH_SIZE];
    const char *tables[TABLES_MAX];
    csync_grant grant = {
        .struct_size = sizeof grant,
        .token_hash = hex,
        .client = luaL_optstring(L, 3, NULL),
        .database = luaL_optstring(L, 4, NULL),
        .may = (int)luaL_checkinteger(L, 5),
        .expires_ms = csl_check_integer(L, 7),
        .tables = tables,
        .table_count = read_names(L, 6, tables),
    };
    csync_error err = CSYNC_ERROR_INIT;

    hash_token(token, length, hex);
    if (csync_api_grant(self->handle, &grant, &err))
        return csl_fail(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- a request ----------------------------------------------------------------------------------- */

/* Headers are name, value, name, value ... in the table at `index`, which keeps the texts alive. */
static size_t read_headers(lua_State *L, int index, csync_header *headers)
{
    size_t count = csl_rawlen(L, index) / 2;

    if (count > HEADERS_MAX)
        count = HEADERS_MAX;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (int)i * 2 + 1);
        lua_rawgeti(L, index, (int)i * 2 + 2);
        if (lua_type(L, -1) != LUA_TSTRING || lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "the names and values of headers are strings");
        headers[i].name = lua_tostring(L, -2);
        headers[i].value = lua_tostring(L, -1);
        lua_pop(L, 2);
    }
    return count;
}

typedef struct response_box {
    csync_response *response;
} response_box;

static int response_free(lua_State *L)
{
    response_box *box = lua_touserdata(L, 1);

    csync_response_free(box->response);
    box->response = NULL;
    return 0;
}

/* status, {name, value, ...}, body */
static int push_response(lua_State *L, const csync_response *r)
{
    lua_pushinteger(L, r->status);
    lua_createtable(L, (int)r->header_count * 2, 0);
    for (size_t i = 0; i < r->header_count; i++) {
        lua_pushstring(L, r->headers[i].name);
        lua_rawseti(L, -2, (int)i * 2 + 1);
        lua_pushstring(L, r->headers[i].value);
        lua_rawseti(L, -2, (int)i * 2 + 2);
    }
    lua_pushlstring(L, r->body ? r->body : "", r->body_length);
    return 3;
}

static void check_open(lua_State *L, const api *self)
{
    for (int i = 0; i < self->count; i++)
        if (!self->replicas[i]->handle || self->replicas[i]->closing)
            luaL_error(L, "a replica of the API is closed");
}

static int answer(lua_State *L, api *self, const csync_request *request)
{
    csync_error err = CSYNC_ERROR_INIT;
    response_box *box = csl_new(L, "csync.response", sizeof *box);
    csl_call call;
    int rc;

    csl_call_init(L, &call);
    for (int i = 0; i < self->count; i++)
        csl_replica_enter(self->replicas[i]);
    csl_call_begin(&call);
    rc = csync_api_handle(self->handle, request, &box->response, &err);
    csl_call_end(&call);
    for (int i = self->count; i-- > 0;)
        csl_replica_leave(self->replicas[i]);
    if ((rc = csl_call_finish(&call, rc, &err)) != 0)
        return rc;
    rc = push_response(L, box->response);
    csync_response_free(box->response); /* not when the collector comes by: a page is large */
    box->response = NULL;
    return rc;
}

/* api:_handle(method, path, query, headers, body, local) */
static int api_handle(lua_State *L)
{
    api *self = check(L);
    csync_header headers[HEADERS_MAX];
    csync_request request = {
        .struct_size = sizeof request,
        .method = luaL_checkstring(L, 2),
        .path = luaL_checkstring(L, 3),
        .query = luaL_optstring(L, 4, NULL),
        .headers = headers,
        .local = lua_toboolean(L, 7),
    };

    luaL_checktype(L, 5, LUA_TTABLE);
    request.header_count = read_headers(L, 5, headers);
    request.body = luaL_checklstring(L, 6, &request.body_length);
    check_open(L, self);
    return answer(L, self, &request);
}

static int api_free(lua_State *L)
{
    api *self = luaL_checkudata(L, 1, CSL_API);

    csync_api_free(self->handle);
    self->handle = NULL;
    return 0;
}

void csl_open_api(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", api_free}, {NULL, NULL}};
    static const luaL_Reg response[] = {{"__gc", response_free}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"_add", api_add}, {"_grant", api_grant}, {"_handle", api_handle}, {NULL, NULL}};

    luaL_newmetatable(L, "csync.response");
    csl_setfuncs(L, response);
    lua_pop(L, 1);
    csl_type(L, CSL_API, "Api", meta, methods, NULL);
    lua_pushcfunction(L, api_new);
    lua_setfield(L, -2, "api_new");
}
