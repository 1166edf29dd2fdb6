/* error.h - the core's failures become nil, message, code, detail, and back. */
#ifndef CSL_ERROR_H
#define CSL_ERROR_H
#include "types.h"

/* Pushes nil, message, code and a table with the rest, and returns 4. Raises what is the caller's own mistake
 * (CSYNC_EMISUSE), and CSYNC_ENOMEM as Lua does. */
int csl_fail(lua_State *L, const csync_error *err);
/* Reads message, code and detail at `index` and the two after it: what csl_fail pushed, or anybody's message. */
void csl_error_read(lua_State *L, int index, csync_error *err);
/* Fills `err`, returns `code`. */
int csl_error_set(csync_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
