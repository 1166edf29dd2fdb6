/* hex.c - bytes <-> hex. */
#include "codec/hex.h"

void cs_hex_encode(char *out, const void *bytes, size_t len)
{
    static const char digits[] = "0123456789ABCDEF";
    const unsigned char *b = bytes;

    for (size_t i = 0; i < len; i++) {
        *out++ = digits[b[i] >> 4];
        *out++ = digits[b[i] & 15];
    }
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int cs_hex_decode(char *out, const char *hex, size_t len)
{
    if (len % 2)
        return -1;
    for (size_t i = 0; i < len; i += 2) {
        int high = digit(hex[i]), low = digit(hex[i + 1]);

        if (high < 0 || low < 0)
            return -1;
        *out++ = (char)(high << 4 | low);
    }
    return 0;
}
