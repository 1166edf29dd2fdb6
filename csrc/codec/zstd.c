/* zstd.c - the coding zstd (RFC 8878), by libzstd. */
#include <zstd.h>
#include <zstd_errors.h>

#include "base/library.h"
#include "codec/coding.h"

#define FUNCTIONS(X)                                                                               \
    X(ZSTD_compressBound)                                                                          \
    X(ZSTD_compress)                                                                               \
    X(ZSTD_isError)                                                                                \
    X(ZSTD_getErrorCode)                                                                           \
    X(ZSTD_createDCtx)                                                                             \
    X(ZSTD_DCtx_setParameter)                                                                      \
    X(ZSTD_decompressStream)                                                                       \
    X(ZSTD_freeDCtx)

typedef struct functions {
#define MEMBER(name) __typeof__(&(name)) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} functions;

enum { FASTEST = 1, WINDOW_LOG_MAX = 23 /* 8 MiB: RFC 9659 */ };

static functions z;

int cs_zstd_open(csync_error *err)
{
#define ENTRY(name) CS_SYMBOL(functions, name)
    static const cs_symbol symbols[] = {FUNCTIONS(ENTRY)};
#undef ENTRY
    static const cs_library libzstd = {
        "libzstd",  "libzstd.so.1", "the coding zstd needs",
        "libzstd1", symbols,        sizeof symbols / sizeof *symbols};

    return cs_library_open(&libzstd, NULL, &z, err);
}

int cs_zstd_encode(const void *data, size_t len, cs_buf *out)
{
    size_t room = z.ZSTD_compressBound(len), used;
    char *to = cs_buf_reserve(out, room);

    if (!to)
        return CSYNC_ENOMEM;
    used = z.ZSTD_compress(to, room, data, len, FASTEST);
    if (z.ZSTD_isError(used))
        return CSYNC_ENOMEM;
    out->len += used;
    return CS_CODED;
}

/* Frames follow each other without anything between or behind them. */
static int decode(ZSTD_DCtx *context, const void *data, size_t len, size_t max, cs_buf *out)
{
    ZSTD_inBuffer from = {data, len, 0};
    size_t wanted; /* 0 at the end of a frame */

    do {
        ZSTD_outBuffer to = {cs_buf_reserve(out, CS_CODING_CHUNK), CS_CODING_CHUNK, 0};

        if (!to.dst)
            return CSYNC_ENOMEM;
        wanted = z.ZSTD_decompressStream(context, &to, &from);
        if (z.ZSTD_isError(wanted))
            return z.ZSTD_getErrorCode(wanted) == ZSTD_error_memory_allocation ? CSYNC_ENOMEM
                                                                               : CS_CODED_BADLY;
        out->len += to.pos;
        if (out->len > max)
            return CS_CODED_TOO_MUCH;
        if (wanted && from.pos == from.size && to.pos < to.size)
            return CS_CODED_BADLY; /* it ends in a frame */
    } while (wanted || from.pos < from.size);
    return CS_CODED;
}

int cs_zstd_decode(const void *data, size_t len, size_t max, cs_buf *out)
{
    ZSTD_DCtx *context = z.ZSTD_createDCtx();
    int rc = CSYNC_ENOMEM;

    if (context &&
        !z.ZSTD_isError(z.ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
        rc = decode(context, data, len, max, out);
    z.ZSTD_freeDCtx(context);
    return rc;
}
