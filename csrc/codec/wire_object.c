/* wire_object.c - pkValue and payload: JSON strings that hold a JSON object.
 *
 * Such a string is all escaped quotes: {\"Id\":1,\"Name\":\"x\"}. What is simple, and nearly all is, gets
 * unescaped and checked in one pass, a token at a time. Whatever that pass does not know (white space, nested
 * values, \u escapes, a fault, the last bytes of the document) it leaves to the thorough way. */
#include <string.h>

#include "codec/chunk.h"
#include "codec/names.h"
#include "codec/row.h"
#include "codec/utf8.h"
#include "codec/wire_object.h"

/* How far a token may look ahead without asking. */
#define AHEAD (2 * CS_CHUNK)

/* From r, a position in the source, to w, one in the result. r NULL: not simple. */
typedef struct copier {
    const char *r, *end;
    char *w;
} copier;

/* Behind the backslash of an escape within the inner string: \\n, \\\" and the like. 0: not simple. */
static int copy_inner_escape(copier *c)
{
    static const char simple[256] = {
        ['n'] = 1, ['t'] = 1, ['r'] = 1, ['b'] = 1, ['f'] = 1, ['/'] = 1};
    const char *r = c->r;

    *c->w++ = '\\';
    if (simple[(unsigned char)r[2]]) {
        *c->w++ = r[2];
        c->r += 3;
        return 1;
    }
    if (r[2] != '\\' || (r[3] != '"' && r[3] != '\\'))
        return 0;
    *c->w++ = r[3];
    c->r += 4;
    return 1;
}

static int copy_high(copier *c)
{
    while ((unsigned char)*c->r >= 0x80) {
        size_t n = cs_utf8_char(c->r, c->end);

        if (n == 0 || c->end - c->r < AHEAD)
            return 0;
        memcpy(c->w, c->r, 4); /* there is room on both sides */
        c->w += n;
        c->r += n;
    }
    return 1;
}

/* From behind an opening \" to behind the closing one, whose quote is not written. 0: not simple; a name with
 * an escape is not. */
static inline int copy_inner_string(copier *c, int is_name)
{
    while (c->end - c->r >= AHEAD) {
        unsigned found = cs_chunk_specials(c->r, 1), at;

        cs_chunk_copy(c->w, c->r);
        at = found ? (unsigned)__builtin_ctz(found) : CS_CHUNK;
        c->r += at;
        c->w += at;
        if (!found)
            continue;
        if (*c->r == '\\' && c->r[1] == '"') {
            c->r += 2;
            return 1;
        }
        if (*c->r == '\\' ? is_name || c->r[1] != '\\' || !copy_inner_escape(c)
                          : (unsigned char)*c->r < 0x80 || !copy_high(c))
            return 0;
    }
    return 0;
}

static inline int is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* The digits at c->r, at least one; 0: not simple. */
static inline int copy_digits(copier *c)
{
    const char *from = c->r;

    while (is_digit(*c->r) && c->end - c->r > CS_CHUNK)
        *c->w++ = *c->r++;
    return c->r > from && !is_digit(*c->r);
}

static int copy_number(copier *c)
{
    const char *digits;

    if (*c->r == '-')
        *c->w++ = *c->r++;
    digits = c->r;
    if (!copy_digits(c) || (*digits == '0' && c->r - digits > 1))
        return 0;
    if (*c->r != '.')
        return *c->r != 'e' && *c->r != 'E';
    *c->w++ = *c->r++;
    return copy_digits(c) && *c->r != 'e' && *c->r != 'E';
}

static int copy_word(copier *c, const char *word, size_t len)
{
    if (memcmp(c->r, word, len) != 0)
        return 0;
    memcpy(c->w, word, len);
    c->r += len;
    c->w += len;
    return 1;
}

static inline int copy_scalar(copier *c)
{
    switch (*c->r) {
    case '\\':
        if (c->r[1] != '"')
            return 0;
        c->r += 2;
        *c->w++ = '"';
        if (!copy_inner_string(c, 0))
            return 0;
        *c->w++ = '"';
        return 1;
    case 'n':
        return copy_word(c, "null", 4);
    case 't':
        return copy_word(c, "true", 4);
    case 'f':
        return copy_word(c, "false", 5);
    default:
        return copy_number(c);
    }
}

/* Notes the name that ends at c->w. 0: not simple, or there already. */
static inline int note_name(cs_names *names, const char *name, size_t len)
{
    uint64_t first, mask;
    unsigned bit;

    if (names->count == CS_NAMES_NEAR || len == 0)
        return 0;
    memcpy(&first, name, 8); /* the result has room behind it */
    bit = cs_name_bit(first, len);
    mask = UINT64_C(1) << (bit & 63);
    if (names->seen[bit >> 6] & mask)
        return cs_names_add(names, name, len) == 0;
    names->seen[bit >> 6] |= mask;
    names->near[names->count].text = name;
    names->near[names->count++].len = len;
    return 1;
}

/* The name of a member, from its \" on. 0: not simple. */
static inline int copy_name(copier *c, cs_names *names, cs_shape *shape)
{
    const char *raw = c->r;
    char *plain = c->w;
    unsigned i = shape->count;

    if (c->end - c->r < AHEAD || c->r[0] != '\\' || c->r[1] != '"')
        return 0;
    c->r += 2;
    *c->w++ = '"';
    if (!copy_inner_string(c, 1) || *c->r != ':' ||
        !note_name(names, plain + 1, (size_t)(c->w - plain - 1)))
        return 0;
    memcpy(c->w, "\":", 2);
    c->w += 2;
    c->r++;
    if (i < CS_SHAPE_NAMES && names->count == i + 1 && c->r - raw <= CS_SHAPE_NAME_MAX) {
        shape->names[i].raw = raw;
        shape->names[i].plain = plain;
        shape->names[i].len = (unsigned)(c->r - raw);
        shape->count++;
    }
    return c->end - c->r >= AHEAD;
}

/* The same, if it is the name that the shape has at `i`. */
static inline int copy_known_name(copier *c, const cs_shape *shape, unsigned i)
{
    unsigned len = i < shape->count ? shape->names[i].len : 0;

    if (len == 0 || !cs_chunk_begins(c->r, shape->names[i].raw, len < CS_CHUNK ? len : CS_CHUNK))
        return 0;
    cs_chunk_copy(c->w, shape->names[i].plain);
    if (len > CS_CHUNK) {
        if (!cs_chunk_begins(c->r + CS_CHUNK, shape->names[i].raw + CS_CHUNK, len - CS_CHUNK))
            return 0;
        cs_chunk_copy(c->w + CS_CHUNK, shape->names[i].plain + CS_CHUNK);
    }
    c->r += len;
    c->w += len - 2;
    return c->end - c->r >= AHEAD;
}

/* A value and what follows it. 1: a comma; 0: the end of the string; -1: not simple. */
static inline int copy_value(copier *c)
{
    char next;

    if (!copy_scalar(c) || c->end - c->r < AHEAD)
        return -1;
    next = *c->r++;
    *c->w++ = next;
    if (next == ',')
        return c->end - c->r < AHEAD ? -1 : 1;
    return next == '}' && *c->r++ == '"' ? 0 : -1;
}

static int is_candidate(const cs_scan *s)
{
    return s->end - s->p >= 2 * AHEAD && s->p[0] == '"' && s->p[1] == '{';
}

/* The simple passes. NULL: not simple, nothing happened. */
static char *copy_simple(cs_scan *s, char *out, cs_shape *shape)
{
    copier c = {s->p + 2, s->end, out};
    cs_names names;
    int more = 1;

    cs_names_init(&names);
    shape->count = 0;
    *c.w++ = '{';
    while (more == 1)
        more = copy_name(&c, &names, shape) ? copy_value(&c) : -1;
    if (more < 0)
        return NULL;
    s->p = c.r;
    return c.w;
}

/* Where all names are those of the row before, which were distinct. */
static char *copy_known(cs_scan *s, char *out, const cs_shape *shape)
{
    copier c = {s->p + 2, s->end, out};
    int more = 1;

    *c.w++ = '{';
    for (unsigned i = 0; more == 1; i++)
        more = copy_known_name(&c, shape, i) ? copy_value(&c) : -1;
    if (more < 0)
        return NULL;
    s->p = c.r;
    return c.w;
}

char *cs_wire_object(cs_scan *s, char *out, cs_shape *shape, size_t min_members, int *rc)
{
    const char *at = s->p;
    char *end = NULL;
    cs_scan inner;

    *rc = CSYNC_OK;
    if (is_candidate(s)) {
        end = copy_known(s, out, shape);
        if (!end)
            end = copy_simple(s, out, shape);
        if (end)
            return end;
    }
    end = cs_scan_copy(s, out);
    *rc = end ? CSYNC_OK : CSYNC_EINVAL;
    if (!end)
        return NULL;
    cs_scan_init(&inner, out, (size_t)(end - out));
    *rc = cs_row_scan(&inner, min_members);
    if (*rc == CSYNC_OK)
        return end;
    s->p = at;
    s->fault = inner.fault;
    return NULL;
}
