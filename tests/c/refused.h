/* refused.h - calls that must fail: the code, a part of the message, and the same without a csync_error. */
#ifndef REFUSED_H
#define REFUSED_H
#include "support.h"

#define REFUSED(code_, part, call)                                                                 \
    do {                                                                                           \
        FAILS(code_, part, call);                                                                  \
        {                                                                                          \
            csync_error *err = NULL;                                                               \
            assert_string_equal(csync_code_name(call), csync_code_name(code_));                    \
        }                                                                                          \
    } while (0)

#define GARBAGE ((void *)16) /* what an out pointer holds before a call */
#endif
