/* escape.h - the inside of a JSON string. */
#ifndef CS_ESCAPE_H
#define CS_ESCAPE_H
#include <stddef.h>

#define CS_ESCAPE_MAX 6 /* bytes that one may become */
#define CS_ESCAPE_SLACK 32 /* bytes behind the result that may be written over */

/* Writes `text`, escaped as RFC 8785 has it, to `w`, which has room for len * CS_ESCAPE_MAX + CS_ESCAPE_SLACK
 * bytes. Returns the end. */
char *cs_escape(char *w, const char *text, size_t len);
#endif
