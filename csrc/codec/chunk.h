/* chunk.h - 16 bytes at a time: which of them end a run of plain JSON text. SSE2, or 64-bit words. */
#ifndef CS_CHUNK_H
#define CS_CHUNK_H
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(CS_NO_SIMD)
#include <emmintrin.h>
#define CS_SSE2 1
#endif

#define CS_CHUNK 16

/* Bit i is set when byte i is '"', '\\' or a control character; with `or_high` also when it is >= 0x80. */
static inline unsigned cs_chunk_specials(const char *p, int or_high);

/* The two may overlap. */
static inline void cs_chunk_copy(char *to, const char *from)
{
    char chunk[CS_CHUNK];

    memcpy(chunk, from, CS_CHUNK);
    memcpy(to, chunk, CS_CHUNK);
}

#ifdef CS_SSE2

static inline unsigned cs_chunk_specials(const char *p, int or_high)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
    __m128i slash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
    __m128i low = or_high ? _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)) /* signed: >= 0x80 is below too */
                          : _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1F)), v);

    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, slash), low));
}

#else

#define CS_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The high bit of each byte that is zero. Exact: no borrow crosses a byte. */
static inline uint64_t cs_word_zeros(uint64_t w)
{
    return ~(((w & CS_EACH(0x7F)) + CS_EACH(0x7F)) | w) & CS_EACH(0x80);
}

static inline unsigned cs_word_specials(const char *p, int or_high)
{
    uint64_t w, high, found;

    memcpy(&w, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    high = w & CS_EACH(0x80);
    found = cs_word_zeros(w ^ CS_EACH('"')) | cs_word_zeros(w ^ CS_EACH('\\'));
    found |= ~((w & CS_EACH(0x7F)) + CS_EACH(0x60)) & ~high & CS_EACH(0x80);
    if (or_high)
        found |= high;
    return (unsigned)(((found >> 7) * UINT64_C(0x0102040810204080)) >> 56);
}

static inline unsigned cs_chunk_specials(const char *p, int or_high)
{
    return cs_word_specials(p, or_high) | cs_word_specials(p + 8, or_high) << 8;
}

#endif

/* 1 when the 16 bytes at p begin with the `len` (<= 16) bytes at `with`, of which 16 can be read. */
static inline int cs_chunk_begins(const char *p, const char *with, unsigned len)
{
#ifdef CS_SSE2
    __m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)with);
    unsigned wanted = (1u << len) - 1;

    return ((unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b)) & wanted) == wanted;
#else
    return memcmp(p, with, len) == 0;
#endif
}
#endif
