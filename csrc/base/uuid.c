/* uuid.c - random UUIDs from the kernel's generator. */
#include <errno.h>
#include <sys/random.h>

#include "base/uuid.h"

static int (*source)(unsigned char *bytes, size_t len);

void cs_random_source(int (*fill)(unsigned char *bytes, size_t len))
{
    source = fill;
}

static int fill_random(unsigned char *bytes, size_t len)
{
    size_t have = 0;

    if (source)
        return source(bytes, len);
    while (have < len) {
        ssize_t n = getrandom(bytes + have, len - have, 0);

        if (n > 0)
            have += (size_t)n;
        else if (n < 0 && errno != EINTR)
            return -1;
    }
    return 0;
}

int cs_uuid4(char out[CS_UUID_SIZE], csync_error *err)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char b[16];
    char *w = out;

    out[0] = 0;
    if (fill_random(b, sizeof b) != 0)
        return cs_fail(err, CSYNC_ERROR, "the kernel gave no random bytes (errno %d)", errno);
    b[6] = (unsigned char)((b[6] & 0x0F) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3F) | 0x80);
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *w++ = '-';
        *w++ = hex[b[i] >> 4];
        *w++ = hex[b[i] & 15];
    }
    *w = 0;
    return CSYNC_OK;
}
