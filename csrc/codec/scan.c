/* scan.c - strict JSON, token by token. */
#include <string.h>

#include "codec/chunk.h"
#include "codec/scan.h"
#include "codec/utf8.h"
#include "codec/value.h"

void cs_scan_init(cs_scan *s, const char *json, size_t len)
{
    memset(s, 0, sizeof *s);
    s->p = s->start = json;
    s->end = json + len;
}

int cs_scan_fault(cs_scan *s, const char *fault)
{
    s->fault = fault;
    return CSYNC_EINVAL;
}

int cs_scan_fail(const cs_scan *s, csync_error *err, const char *what)
{
    return cs_fail(err, CSYNC_EINVAL, "%s, byte %zu: %s", what, (size_t)(s->p - s->start), s->fault);
}

int cs_scan_expect(cs_scan *s, char c, const char *fault)
{
    if (cs_scan_peek(s) != (unsigned char)c)
        return cs_scan_fault(s, s->p < s->end ? fault : "the text ends too early");
    s->p++;
    return CSYNC_OK;
}

int cs_scan_finish(cs_scan *s)
{
    return cs_scan_peek(s) < 0 ? CSYNC_OK : cs_scan_fault(s, "something follows the value");
}

/* The first byte at or after p that ends a run of plain ASCII. */
static const char *skip_plain(const char *p, const char *end)
{
    for (; end - p >= CS_CHUNK; p += CS_CHUNK) {
        unsigned found = cs_chunk_specials(p, 1);

        if (found)
            return p + __builtin_ctz(found);
    }
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits at p; -1 when they are none. */
static int32_t hex_quad(const char *p, const char *end)
{
    int32_t value = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);

        if (d < 0)
            return -1;
        value = value << 4 | d;
    }
    return value;
}

/* \uXXXX at p, or a pair of them: the code point, and how many bytes it took. NULL, or the fault. */
static const char *unicode_escape(const char *p, const char *end, uint32_t *code, size_t *size)
{
    int32_t first = hex_quad(p + 2, end), second;

    if (first < 0)
        return "\\u needs four hex digits";
    *code = (uint32_t)first;
    *size = 6;
    if (first < 0xD800 || first > 0xDFFF)
        return NULL;
    if (first > 0xDBFF || end - p < 12 || p[6] != '\\' || p[7] != 'u')
        return "half of a surrogate pair";
    second = hex_quad(p + 8, end);
    if (second < 0xDC00 || second > 0xDFFF)
        return "half of a surrogate pair";
    *code = 0x10000 + (((uint32_t)first - 0xD800) << 10) + ((uint32_t)second - 0xDC00);
    *size = 12;
    return NULL;
}

/* What the letter behind a backslash stands for; 0: it is no escape (or `u`). */
static const char escapes[256] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
};

/* Reads the escape at s->p. Its character is in *code. */
static int read_escape(cs_scan *s, uint32_t *code)
{
    const char *fault = "this is no escape";
    size_t size = 2;

    if (s->end - s->p < 2)
        return cs_scan_fault(s, "the text ends inside a string");
    *code = (unsigned char)escapes[(unsigned char)s->p[1]];
    if (*code == 0) {
        if (s->p[1] == 'u')
            fault = unicode_escape(s->p, s->end, code, &size);
        if (fault)
            return cs_scan_fault(s, fault);
    }
    s->p += size;
    return CSYNC_OK;
}

/* Bytes >= 0x80 from s->p on. */
static int skip_high(cs_scan *s, int *has_invalid)
{
    while (s->p < s->end && (unsigned char)*s->p >= 0x80) {
        size_t n = cs_utf8_char(s->p, s->end);

        if (n == 0 && !s->any_bytes)
            return cs_scan_fault(s, "invalid UTF-8");
        *has_invalid |= n == 0;
        s->p += n ? n : 1;
    }
    return CSYNC_OK;
}

static int string_fault(cs_scan *s)
{
    return cs_scan_fault(s, s->p < s->end ? "a control character inside a string"
                                          : "the text ends inside a string");
}

int cs_scan_string(cs_scan *s, cs_token *out)
{
    uint32_t code;
    int rc = CSYNC_OK;

    memset(out, 0, sizeof *out);
    if (s->p >= s->end || *s->p != '"')
        return cs_scan_fault(s, "a string is needed here");
    out->text = ++s->p;
    while (rc == CSYNC_OK) {
        s->p = skip_plain(s->p, s->end);
        if (s->p >= s->end || (unsigned char)*s->p < 0x20)
            return string_fault(s);
        if (*s->p == '"')
            break;
        out->has_escape |= *s->p == '\\';
        rc = *s->p == '\\' ? read_escape(s, &code) : skip_high(s, &out->has_invalid);
    }
    out->len = (size_t)(s->p - out->text);
    s->p += rc == CSYNC_OK;
    return rc;
}

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static int number_fault(cs_scan *s, const char *at)
{
    s->p = at;
    return cs_scan_fault(s, "this is no number");
}

int cs_scan_number(cs_scan *s, cs_token *out)
{
    const char *p = s->p, *digits, *end = s->end;

    memset(out, 0, sizeof *out);
    out->text = p;
    out->is_integer = 1;
    digits = p += p < end && *p == '-';
    p = skip_digits(p, end);
    if (p == digits || (*digits == '0' && p - digits > 1))
        return number_fault(s, digits);
    if (p < end && *p == '.') {
        out->is_integer = 0;
        digits = ++p;
        p = skip_digits(p, end);
        if (p == digits)
            return number_fault(s, p);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        out->is_integer = 0;
        p++;
        digits = p += p < end && (*p == '+' || *p == '-');
        p = skip_digits(p, end);
        if (p == digits)
            return number_fault(s, p);
    }
    out->len = (size_t)(p - out->text);
    s->p = p;
    return CSYNC_OK;
}

int cs_scan_word(cs_scan *s, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len) != 0)
        return cs_scan_fault(s, "this is no JSON value");
    s->p += len;
    return CSYNC_OK;
}

int cs_scan_name(cs_scan *s, cs_token *out)
{
    int rc = cs_scan_string(s, out);

    if (rc == CSYNC_OK)
        rc = cs_scan_expect(s, ':', "a colon is needed here");
    if (rc == CSYNC_OK)
        cs_scan_peek(s);
    return rc;
}

int cs_scan_next(cs_scan *s, char close)
{
    int c = cs_scan_peek(s);

    if (c != ',' && c != (unsigned char)close)
        return cs_scan_fault(s, c < 0          ? "the text ends too early"
                                : close == '}' ? "a comma or } is needed here"
                                               : "a comma or ] is needed here");
    s->p++;
    if (c == ',')
        cs_scan_peek(s);
    return c == ',';
}

static int scan_scalar(cs_scan *s)
{
    cs_token token;

    switch (s->p < s->end ? *s->p : 0) {
    case '"':
        return cs_scan_string(s, &token);
    case 't':
        return cs_scan_word(s, "true");
    case 'f':
        return cs_scan_word(s, "false");
    case 'n':
        return cs_scan_word(s, "null");
    default:
        if (s->p >= s->end)
            return cs_scan_fault(s, "the text ends too early");
        if (*s->p != '-' && (*s->p < '0' || *s->p > '9'))
            return cs_scan_fault(s, "this is no JSON value");
        return cs_scan_number(s, &token);
    }
}

/* The containers that are open: bit n of `objects` tells of what kind the one at depth n + 1 is. */
typedef struct nest {
    uint64_t objects;
    unsigned depth, base;
} nest;

static char closer(const nest *n)
{
    return n->objects >> (n->depth - 1) & 1 ? '}' : ']';
}

/* Enters the container at p. 1: its first item is at p (in an object: its value); 0: it was empty. */
static int open_container(cs_scan *s, nest *n)
{
    char close = *s->p == '{' ? '}' : ']';
    cs_token name;
    int rc;

    if (n->depth + n->base >= CS_DEPTH_MAX)
        return cs_scan_fault(s, "nested too deep");
    s->p++;
    if (cs_scan_peek(s) == (unsigned char)close) {
        s->p++;
        return 0;
    }
    n->objects = (n->objects & ~(UINT64_C(1) << n->depth)) | (uint64_t)(close == '}') << n->depth;
    n->depth++;
    rc = close == '}' ? cs_scan_name(s, &name) : CSYNC_OK;
    return rc == CSYNC_OK ? 1 : rc;
}

/* After a value: leaves the containers that end here. 1: the next value is at p; 0: all are closed. */
static int after_value(cs_scan *s, nest *n)
{
    cs_token name;

    while (n->depth) {
        char close = closer(n);
        int more = cs_scan_next(s, close);

        if (more < 0)
            return more;
        if (more)
            return close == '}' && cs_scan_name(s, &name) != CSYNC_OK ? CSYNC_EINVAL : 1;
        n->depth--;
    }
    return 0;
}

int cs_scan_value(cs_scan *s, unsigned depth)
{
    nest n = {0, 0, depth};
    int more;

    do {
        int is_open = s->p < s->end && (*s->p == '{' || *s->p == '[');

        more = is_open ? open_container(s, &n) : scan_scalar(s);
        if (more == 0)
            more = after_value(s, &n);
    } while (more > 0);
    return more;
}

size_t cs_scan_decode(char *out, const char *text, size_t len)
{
    cs_scan s;
    char *w = out;
    uint32_t code = 0;

    cs_scan_init(&s, text, len);
    while (s.p < s.end) {
        const char *slash = memchr(s.p, '\\', (size_t)(s.end - s.p));
        size_t plain = (size_t)((slash ? slash : s.end) - s.p);

        memmove(w, s.p, plain);
        w += plain;
        s.p += plain;
        if (slash && read_escape(&s, &code) != CSYNC_OK)
            break; /* not a string that cs_scan_string accepts */
        if (slash)
            w = cs_utf8_put(w, code);
    }
    return (size_t)(w - out);
}

int cs_int_parse(const char *digits, size_t len, int64_t *out)
{
    int is_negative = len > 0 && digits[0] == '-';
    uint64_t value = 0, limit = (uint64_t)INT64_MAX + (uint64_t)is_negative;

    for (size_t i = (size_t)is_negative; i < len; i++) {
        unsigned d = (unsigned)(unsigned char)digits[i] - '0';

        if (d > 9 || value > (limit - d) / 10)
            return -1;
        value = value * 10 + d;
    }
    if (len == (size_t)is_negative)
        return -1;
    *out = is_negative ? (int64_t)(0 - value) : (int64_t)value;
    return 0;
}

/* Copies characters >= 0x80 from s->p on. */
static char *copy_high(cs_scan *s, char *w)
{
    const char *from = s->p;
    int has_invalid = 0;

    if (skip_high(s, &has_invalid) != CSYNC_OK)
        return NULL;
    memcpy(w, from, (size_t)(s->p - from));
    return w + (s->p - from);
}

/* Copies plain text from s->p on, to the byte that ends it. */
static char *copy_plain(cs_scan *s, char *w)
{
    const char *p = s->p, *end = s->end;

    for (; end - p >= CS_CHUNK; p += CS_CHUNK, w += CS_CHUNK) {
        unsigned found = cs_chunk_specials(p, 1);

        cs_chunk_copy(w, p);
        if (found) {
            s->p = p + __builtin_ctz(found);
            return w + __builtin_ctz(found);
        }
    }
    s->p = skip_plain(p, end);
    memcpy(w, p, (size_t)(s->p - p));
    return w + (s->p - p);
}

char *cs_scan_copy(cs_scan *s, char *out)
{
    char *w = out;
    uint32_t code = 0;

    if (s->p >= s->end || *s->p != '"') {
        cs_scan_fault(s, "a string is needed here");
        return NULL;
    }
    s->p++;
    for (;;) {
        w = copy_plain(s, w);
        if (s->p >= s->end || (unsigned char)*s->p < 0x20) {
            string_fault(s);
            return NULL;
        }
        if (*s->p == '"') {
            s->p++;
            return w;
        }
        if (*s->p != '\\')
            w = copy_high(s, w);
        else
            w = read_escape(s, &code) == CSYNC_OK ? cs_utf8_put(w, code) : NULL;
        if (!w)
            return NULL;
    }
}

int cs_utf8_valid(const char *text, size_t len)
{
    const char *p = text, *end = text + len;

    while (p < end) {
        size_t n = 1;
        uint64_t word;

        if (end - p >= 8) {
            memcpy(&word, p, 8);
            n = word & UINT64_C(0x8080808080808080) ? 1 : 8;
        }
        if ((unsigned char)*p >= 0x80)
            n = cs_utf8_char(p, end);
        if (n == 0)
            return 0;
        p += n;
    }
    return 1;
}
