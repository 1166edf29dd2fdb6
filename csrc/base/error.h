/* error.h - filling a csync_error. The function that detects a failure fills it; callers pass the code on. */
#ifndef CS_ERROR_H
#define CS_ERROR_H
#include "csync.h"

#define CS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Writes code and message (cut at the field's size, on a UTF-8 boundary) and returns the code. `err` may be
 * NULL. Keeps native_code, version, table, expected and actual if the caller set them before. */
int cs_fail(csync_error *err, int code, const char *format, ...) CS_PRINTF(3, 4);
/* CSYNC_ENOMEM with a fixed message. */
int cs_fail_nomem(csync_error *err);
/* 1 when there is an error struct of at least our size. */
int cs_error_writable(const csync_error *err);
/* Writes `from` to *err, if it is writable. */
void cs_error_copy(csync_error *err, const csync_error *from);
/* Clears everything but struct_size; public entry points call it first. */
void cs_error_clear(csync_error *err);
#endif
