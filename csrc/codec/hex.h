/* hex.h - bytes <-> hex. */
#ifndef CS_HEX_H
#define CS_HEX_H
#include <stddef.h>

/* Upper-case hex of `len` bytes, 2 * len characters, no NUL. */
void cs_hex_encode(char *out, const void *bytes, size_t len);
/* Decodes `len` characters of either case into out[len / 2]; may run in place. -1: odd or no hex. */
int cs_hex_decode(char *out, const char *hex, size_t len);
#endif
