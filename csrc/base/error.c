/* error.c - csync_error, the names of the codes, the version. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

#define TEXT_OF(x) #x
#define DOTTED(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

const char *csync_version(void)
{
    return DOTTED(CSYNC_VERSION_MAJOR, CSYNC_VERSION_MINOR, CSYNC_VERSION_PATCH);
}

static const char *const code_names[] = {
    "CSYNC_OK",        "CSYNC_ERROR",       "CSYNC_ENOMEM",       "CSYNC_EMISUSE",
    "CSYNC_EINVAL",    "CSYNC_ENOTFOUND",   "CSYNC_EBUSY",        "CSYNC_EDB",
    "CSYNC_ESCHEMA",   "CSYNC_EFOREIGNKEY", "CSYNC_EHASH",        "CSYNC_EFULLRESYNC",
    "CSYNC_ENET",      "CSYNC_EPROTO",      "CSYNC_EAUTH",        "CSYNC_ETIMEOUT",
    "CSYNC_ECANCELED", "CSYNC_ECALLBACK",   "CSYNC_EUNSUPPORTED", "CSYNC_ECLOCK",
};

const char *csync_code_name(int code)
{
    int count = (int)(sizeof code_names / sizeof code_names[0]);

    return code <= 0 && code > -count ? code_names[-code] : "CSYNC_ERROR";
}

/* A caller that did not say how large its struct is gets nothing written to it. */
int cs_error_writable(const csync_error *err)
{
    return err && err->struct_size >= sizeof *err;
}

int cs_fail(csync_error *err, int code, const char *format, ...)
{
    va_list args;

    if (!cs_error_writable(err))
        return code;
    err->code = code;
    va_start(args, format);
    cs_text_format(err->message, sizeof err->message, format, args);
    va_end(args);
    return code;
}

int cs_fail_nomem(csync_error *err)
{
    return cs_fail(err, CSYNC_ENOMEM, "out of memory");
}

void cs_error_clear(csync_error *err)
{
    csync_error blank = CSYNC_ERROR_INIT;

    if (!cs_error_writable(err))
        return;
    blank.struct_size = err->struct_size;
    *err = blank;
}

void cs_error_copy(csync_error *err, const csync_error *from)
{
    size_t size;

    if (!cs_error_writable(err))
        return;
    size = err->struct_size;
    *err = *from;
    err->struct_size = size;
}
