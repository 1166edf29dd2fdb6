/* stamp.h - what orders the changes to a row everywhere: (timestamp, origin, seq). */
#ifndef CS_STAMP_H
#define CS_STAMP_H
#include <stdint.h>

typedef struct cs_stamp {
    int64_t ts; /* UTC milliseconds */
    const char *origin; /* compared as bytes */
    int64_t seq;
} cs_stamp;

/* <0, 0, >0 */
int cs_stamp_compare(const cs_stamp *a, const cs_stamp *b);
#endif
