/* lineage.h - whose copy a replica is: what the file that it is a copy of had written was written by its user too. */
#ifndef CS_LINEAGE_H
#define CS_LINEAGE_H
#include <stdint.h>
#include "csync.h"

/* "VERSION ORIGIN\n" of the replica that it is a copy of, whose log ended with VERSION then, of the one that that one was a
 * copy of, ...: room for twenty. */
#define CS_LINEAGE_SIZE 1800

/* 1 when `lineage` is such a text. */
int cs_lineage_check(const char *lineage);
/* 1 when one of those made the change, before it was copied. */
int cs_lineage_made(const char *lineage, const csync_change *change);
/* A copy was made of `origin`, whose own lineage this is; what is too old to be held is forgotten. */
void cs_lineage_add(char lineage[CS_LINEAGE_SIZE], const char *origin, int64_t version);
#endif
