/* uuid.h - random UUIDs (RFC 9562, version 4). */
#ifndef CS_UUID_H
#define CS_UUID_H
#include "base/error.h"

#define CS_UUID_SIZE 37
int cs_uuid4(char out[CS_UUID_SIZE], csync_error *err);
/* Where random bytes come from: a function that returns 0 when it has filled `bytes`; NULL: the kernel. For the
 * simulator, whose runs a seed has to reproduce. */
void cs_random_source(int (*fill)(unsigned char *bytes, size_t len));
#endif
