/* names.h - are the names of an object distinct? */
#ifndef CS_NAMES_H
#define CS_NAMES_H
#include <stddef.h>
#include <stdint.h>

enum { CS_NAMES_NEAR = 64 };

typedef struct cs_name {
    const char *text;
    size_t len;
} cs_name;

typedef struct cs_names {
    size_t count;
    uint64_t seen[4]; /* a bit for each hash value that occurred */
    cs_name near[CS_NAMES_NEAR];
    cs_name *all; /* every name, once there are more than `near` holds */
    size_t cap;
} cs_names;

void cs_names_init(cs_names *n);
/* 0: new so far; 1: there already; CSYNC_ENOMEM. `text` must stay until cs_names_finish. */
int cs_names_add(cs_names *n, const char *text, size_t len);
/* 0: all distinct; 1: not. Releases everything. */
int cs_names_finish(cs_names *n);

/* Hash of a name for the 256 bits above, where 8 bytes can be read at `text`. */
static inline unsigned cs_name_bit(uint64_t first, size_t len)
{
    if (len < 8)
        first &= (UINT64_C(1) << (len * 8)) - 1;
    return (unsigned)(((first ^ len) * UINT64_C(0x9E3779B97F4A7C15)) >> 56);
}
#endif
