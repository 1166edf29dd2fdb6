/* position.h - where somebody stands in a replica's log. */
#ifndef CS_POSITION_H
#define CS_POSITION_H
#include <stdint.h>

#define CS_EPOCH_SIZE 64 /* of an epoch's text, with its NUL */

/* The log gave out `epoch` with the version; only that log can read it. "": none was given. */
typedef struct cs_position {
    int64_t version;
    char epoch[CS_EPOCH_SIZE];
} cs_position;

/* `epoch` NULL: none. One that is too long was never given out by any log; it is cut, so it equals none. */
cs_position cs_position_make(int64_t version, const char *epoch);
int cs_position_same(const cs_position *a, const cs_position *b);
/* NULL where there is none. */
const char *cs_position_epoch(const cs_position *position);
#endif
