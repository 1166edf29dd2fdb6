/* place.h - where a URL leads. */
#ifndef CS_PLACE_H
#define CS_PLACE_H
#include "base/buf.h"
#include "client/curl.h"

typedef struct cs_place {
    char *base; /* scheme, host, port and path, without a '/' at the end: also its name in messages */
    char *query; /* as it stood in the URL; NULL: none */
    int is_tls, is_local;
} cs_place; /* zero-initialised is empty */

/* CSYNC_EINVAL: the URL leads to no server, or says who asks. The message shows nothing that may be secret. */
int cs_place_read(cs_place *out, const cs_curl *curl, const char *url, csync_error *err);
void cs_place_free(cs_place *place);
/* The URL without what may be secret; CSYNC_EINVAL: it is none. */
int cs_place_show(const cs_curl *curl, const char *url, char **out);

typedef struct cs_pair {
    const char *name, *value; /* value NULL: left out */
} cs_pair;
/* The URL of one of the API's paths, with the pairs in its query. */
void cs_place_target(cs_buf *out, const cs_place *place, const char *path, const cs_pair *pairs,
                     size_t count);
#endif
