/* sha256.h - SHA-256 through libcrypto. Bytes are gathered in a buffer: small updates are cheap. */
#ifndef CS_SHA256_H
#define CS_SHA256_H
#include <stddef.h>
#include "base/error.h"

typedef struct cs_sha256 cs_sha256;
int cs_sha256_new(cs_sha256 **out, csync_error *err);
void cs_sha256_update(cs_sha256 *h, const void *bytes, size_t len); /* a failure shows in final */
int cs_sha256_final(cs_sha256 *h, char hex[CSYNC_HASH_SIZE], csync_error *err); /* then starts afresh */
void cs_sha256_free(cs_sha256 *h);
#endif
