/* support.h - what the tests of replicas share. Every helper fails the test when it does not succeed. */
#ifndef SUPPORT_H
#define SUPPORT_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "csync.h"

/* Asserts that a call succeeded; prints its message when it did not. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        csync_error ok_err = CSYNC_ERROR_INIT;                                                     \
        csync_error *err = &ok_err;                                                                \
        int ok_rc = (call);                                                                        \
        if (ok_rc != CSYNC_OK)                                                                     \
            fail_msg("%s: %s (%s)", #call, err->message, csync_code_name(ok_rc));                  \
    } while (0)

/* Asserts the code and a part of the message. */
#define FAILS(code_, part, call)                                                                   \
    do {                                                                                           \
        csync_error fails_err = CSYNC_ERROR_INIT;                                                  \
        csync_error *err = &fails_err;                                                             \
        int fails_rc = (call);                                                                     \
        assert_string_equal(csync_code_name(fails_rc), csync_code_name(code_));                    \
        assert_int_equal(err->code, fails_rc);                                                     \
        if (!strstr(err->message, part))                                                           \
            fail_msg("\"%s\" lacks \"%s\"", err->message, part);                                   \
    } while (0)

/* An in-memory replica with the schema, all of its tables tracked. */
csync *replica_new(const char *schema);
/* Runs statements separated by `;` and a newline, or just one. */
void run(csync *c, const char *sql);
/* The first column of the first row as text; "" for NULL, "-" for no row. Valid until the next call. */
const char *text(csync *c, const char *sql);
int64_t number(csync *c, const char *sql);
csync_result sync_all(csync *c, csync *peer);
void pause_ms(int ms);
void assert_equal(csync *a, csync *b);
#endif
