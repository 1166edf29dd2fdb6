/* uuid.h - random UUIDs (RFC 9562, version 4). */
#ifndef CS_UUID_H
#define CS_UUID_H
#include "base/error.h"

#define CS_UUID_SIZE 37
int cs_uuid4(char out[CS_UUID_SIZE], csync_error *err);
#endif
