/* hash.h - the hash of all tracked tables. */
#ifndef CS_HASH_H
#define CS_HASH_H
#include "sync/replica.h"

int cs_database_hash(csync *c, char hex[CSYNC_HASH_SIZE], csync_error *err);
#endif
