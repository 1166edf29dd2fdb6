/* convert.h - the core's structs as Lua tables, and back. */
#ifndef CSL_CONVERT_H
#define CSL_CONVERT_H
#include "error.h"

/* A csync.Change with copies of everything; NULL becomes nil. */
void csl_push_change(lua_State *L, const csync_change *change);
/* The Change at `index`; its strings live as long as the table does. Raises when it is no Change. A failure is described
 * in `err`. */
int csl_read_change(lua_State *L, int index, csync_change *out, csync_error *err);
/* A csync.Position. */
void csl_push_position(lua_State *L, const csync_fetch *fetch);
/* A plain table; csync.lua makes a Result of it. */
void csl_push_result(lua_State *L, const csync_result *result);

#endif
