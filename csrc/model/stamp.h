/* stamp.h - what orders the changes to a row everywhere: (timestamp, origin, seq). */
#ifndef CS_STAMP_H
#define CS_STAMP_H
#include <stddef.h>
#include <stdint.h>

typedef struct cs_stamp {
    int64_t ts; /* UTC milliseconds */
    const char *origin; /* compared as bytes */
    int64_t seq;
} cs_stamp;

/* <0, 0, >0 */
int cs_stamp_compare(const cs_stamp *a, const cs_stamp *b);

#define CS_STAMP_SIZE 128 /* of a stamp's text, with its NUL */
/* "timestamp origin seq": how a change's base travels. */
void cs_stamp_format(const cs_stamp *stamp, char out[CS_STAMP_SIZE]);
/* 0, or -1: the text is no stamp. The origin is borrowed from `buffer`. */
int cs_stamp_parse(const char *text, cs_stamp *out, char buffer[CS_STAMP_SIZE]);
#endif
