/* text_list.h - a JSON array of strings: the names of tables. */
#ifndef CS_TEXT_LIST_H
#define CS_TEXT_LIST_H
#include "base/buf.h"
#include "base/error.h"

/* Appends `text`, behind the brackets and commas that it takes; `]` is the caller's. */
void cs_text_list_add(cs_buf *out, const char *text);
/* Whether `text` (NULL: none) is among the strings. CSYNC_EINVAL: `json` is no array of strings. */
int cs_text_list_has(const char *json, const char *text, int *has, csync_error *err);
#endif
