/* heard.h - cs_heard as a batch carries it: a JSON array of texts "ORIGIN VERSION TS". */
#ifndef CS_CODEC_HEARD_H
#define CS_CODEC_HEARD_H
#include "base/buf.h"
#include "model/heard.h"

/* Appends an entry, behind the brackets and commas that it takes; `]` is the caller's. */
void cs_heard_put(cs_buf *out, const cs_heard *heard);
/* CSYNC_EINVAL: `json` is no such array. `visit` NULL: it is only checked. */
int cs_heard_each(const char *json, cs_heard_visit visit, void *ctx, csync_error *err);
#endif
