/* snapshot.h - a replica's whole database as text, csync's own tables too: to see what a call changed. */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H
#include "csync.h"

enum {
    SNAPSHOT_EXACT = 0,
    SNAPSHOT_TIMELESS = 1 /* without times: two runs of the same calls give the same text */
};
/* From malloc; yours. */
char *snapshot(csync *c, int kind);
/* Asserts that an exact snapshot would give the same text; frees `before`. */
void assert_unchanged(csync *c, char *before);
#endif
