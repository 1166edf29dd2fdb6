/* text_list.h - a JSON array of strings. */
#ifndef CS_TEXT_LIST_H
#define CS_TEXT_LIST_H
#include "base/buf.h"
#include "base/error.h"

typedef int (*cs_text_visit)(void *ctx, const char *text, csync_error *err);

/* Appends `text`, behind the brackets and commas that it takes; `]` is the caller's. */
void cs_text_list_add(cs_buf *out, const char *text);
/* CSYNC_EINVAL: `json` is no array of strings, or one of them holds a NUL. */
int cs_text_list_each(const char *json, cs_text_visit visit, void *ctx, csync_error *err);
/* Whether `text` (NULL: none) is among the strings. */
int cs_text_list_has(const char *json, const char *text, int *has, csync_error *err);
#endif
