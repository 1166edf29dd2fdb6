/* gzip.c - the coding gzip (RFC 1952), by zlib. */
#include <zlib.h>

#include "base/library.h"
#include "base/mem.h"
#include "codec/coding.h"

#define FUNCTIONS(X)                                                                               \
    X(deflateInit2_)                                                                               \
    X(deflateBound)                                                                                \
    X(deflate)                                                                                     \
    X(deflateEnd)                                                                                  \
    X(inflateInit2_)                                                                               \
    X(inflate)                                                                                     \
    X(inflateReset)                                                                                \
    X(inflateEnd)

typedef struct functions {
#define MEMBER(name) __typeof__(&(name)) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} functions;

enum { WINDOW = 15 + 16 /* the header and trailer of gzip */, MEMORY = 8, FASTEST = 1 };

static functions z;

int cs_gzip_open(csync_error *err)
{
#define ENTRY(name) CS_SYMBOL(functions, name)
    static const cs_symbol symbols[] = {FUNCTIONS(ENTRY)};
#undef ENTRY
    static const cs_library zlib = {"zlib",   "libz.so.1", "the coding gzip needs",
                                    "zlib1g", symbols,     sizeof symbols / sizeof *symbols};

    return cs_library_open(&zlib, NULL, &z, err);
}

static voidpf take(voidpf opaque, uInt count, uInt size)
{
    (void)opaque;
    return cs_calloc(count, size);
}

static void give_back(voidpf opaque, voidpf p)
{
    (void)opaque;
    cs_free(p);
}

static z_stream stream_of(const void *data, size_t len)
{
    return (z_stream){.zalloc = take,
                      .zfree = give_back,
                      .next_in = (Bytef *)(uintptr_t)data,
                      .avail_in = (uInt)len};
}

int cs_gzip_encode(const void *data, size_t len, cs_buf *out)
{
    z_stream s = stream_of(data, len);
    size_t room;
    char *to;
    int rc;

    if (len > INT32_MAX || z.deflateInit2_(&s, FASTEST, Z_DEFLATED, WINDOW, MEMORY,
                                           Z_DEFAULT_STRATEGY, ZLIB_VERSION, sizeof s) != Z_OK)
        return CSYNC_ENOMEM;
    room = z.deflateBound(&s, len);
    to = cs_buf_reserve(out, room);
    s.next_out = (Bytef *)to;
    s.avail_out = (uInt)room;
    rc = to ? z.deflate(&s, Z_FINISH) : Z_MEM_ERROR;
    if (rc == Z_STREAM_END)
        out->len += room - s.avail_out;
    z.deflateEnd(&s);
    return rc == Z_STREAM_END ? CS_CODED : CSYNC_ENOMEM;
}

/* One step: at most a chunk of what comes out. */
static int inflate_some(z_stream *s, cs_buf *out)
{
    char *to = cs_buf_reserve(out, CS_CODING_CHUNK);
    int rc;

    if (!to)
        return Z_MEM_ERROR;
    s->next_out = (Bytef *)to;
    s->avail_out = CS_CODING_CHUNK;
    rc = z.inflate(s, Z_NO_FLUSH);
    out->len += CS_CODING_CHUNK - s->avail_out;
    return rc;
}

/* Members follow each other without anything between or behind them. */
int cs_gzip_decode(const void *data, size_t len, size_t max, cs_buf *out)
{
    z_stream s = stream_of(data, len);
    int rc;

    if (len > INT32_MAX)
        return CS_CODED_TOO_MUCH;
    if (z.inflateInit2_(&s, WINDOW, ZLIB_VERSION, sizeof s) != Z_OK)
        return CSYNC_ENOMEM;
    do {
        rc = inflate_some(&s, out);
        if (rc == Z_STREAM_END && s.avail_in)
            rc = z.inflateReset(&s);
    } while (rc == Z_OK && out->len <= max);
    z.inflateEnd(&s);
    if (rc == Z_MEM_ERROR)
        return CSYNC_ENOMEM;
    if (out->len > max)
        return CS_CODED_TOO_MUCH;
    return rc == Z_STREAM_END ? CS_CODED : CS_CODED_BADLY;
}
