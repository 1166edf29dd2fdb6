/* types.h - the userdata types of the module, and tables that have a metatable of the module. */
#ifndef CSL_TYPES_H
#define CSL_TYPES_H
#include <string.h>

#include "compat.h"
#include "csync.h"

#define CSL_REPLICA "csync.Replica"
#define CSL_BATCH "csync.Batch"
#define CSL_OUTCOMES "csync.Outcomes"
#define CSL_SESSION "csync.Session"
#define CSL_SUBSCRIPTION "csync.Subscription"
#define CSL_API "csync.Api"
/* tables */
#define CSL_CHANGE "csync.Change"
#define CSL_POSITION "csync.Position"
#define CSL_BLOB "csync.blob"
#define CSL_INTEGER "csync.integer"
#define CSL_REAL "csync.real"

/* Pushes a userdata of `size` zeroed bytes. It has to be there before the core makes what it will own: then nothing leaks
 * when Lua runs out of memory. */
void *csl_new(lua_State *L, const char *type, size_t size);

/* Makes the type `name`. What is asked of an object is looked for in its methods, then `field` is called; NULL: there are
 * no fields. The methods become member `member` of the table at the top of the stack, where csync.lua adds its own. */
void csl_type(lua_State *L, const char *name, const char *member, const luaL_Reg *meta,
              const luaL_Reg *methods, lua_CFunction field);

/* Whether the value at `index` has the metatable `type`. */
int csl_is(lua_State *L, int index, const char *type);
/* The userdata at `index`, or NULL. */
void *csl_test(lua_State *L, int index, const char *type);

/* Pushes a place for a text of the core, which is freed with it. */
char **csl_text_box(lua_State *L);
/* Pushes the text and frees it. */
void csl_push_boxed(lua_State *L, char **box);
/* NULL becomes nil. */
void csl_push_text(lua_State *L, const char *text);
/* Field `name` of the table at the top of the stack becomes what is pushed by these. */
void csl_set_text(lua_State *L, const char *name, const char *text);
void csl_set_integer(lua_State *L, const char *name, int64_t value);

/* An integer that a number of this Lua cannot hold becomes a string of its digits. */
void csl_push_integer(lua_State *L, int64_t value);
/* Reads an integer from a number, or a string or cdata of its digits. 0: it is none that fits in 64 bits. */
int csl_to_integer(lua_State *L, int index, int64_t *value);
int64_t csl_check_integer(lua_State *L, int index);

void csl_open_types(lua_State *L);

#endif
