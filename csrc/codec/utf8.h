/* utf8.h - one UTF-8 character at a time (RFC 3629). */
#ifndef CS_UTF8_H
#define CS_UTF8_H
#include <stddef.h>
#include <stdint.h>

/* Bytes of the valid character at p, whose first byte is >= 0x80; 0 when there is none before `end`. */
static inline size_t cs_utf8_char(const char *p, const char *end)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t have = (size_t)(end - p);

    if (u[0] < 0xE0)
        return u[0] >= 0xC2 && have >= 2 && (u[1] & 0xC0) == 0x80 ? 2 : 0;
    if (u[0] < 0xF0) {
        if (have < 3 || (u[1] & 0xC0) != 0x80 || (u[2] & 0xC0) != 0x80)
            return 0;
        return (u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F) ? 0 : 3;
    }
    if (u[0] > 0xF4 || have < 4 || (u[1] & 0xC0) != 0x80 || (u[2] & 0xC0) != 0x80 ||
        (u[3] & 0xC0) != 0x80)
        return 0;
    return (u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F) ? 0 : 4;
}

/* Writes the character and returns what follows it. `code` is no surrogate. */
static inline char *cs_utf8_put(char *w, uint32_t code)
{
    if (code < 0x80) {
        *w++ = (char)code;
    } else if (code < 0x800) {
        *w++ = (char)(0xC0 | code >> 6);
        *w++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *w++ = (char)(0xE0 | code >> 12);
        *w++ = (char)(0x80 | (code >> 6 & 63));
        *w++ = (char)(0x80 | (code & 63));
    } else {
        *w++ = (char)(0xF0 | code >> 18);
        *w++ = (char)(0x80 | (code >> 12 & 63));
        *w++ = (char)(0x80 | (code >> 6 & 63));
        *w++ = (char)(0x80 | (code & 63));
    }
    return w;
}
#endif
