/* test_codec.c - numbers, strings, rows, canonical JSON. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/canonical.h"
#include "codec/hex.h"
#include "codec/names.h"
#include "codec/number.h"
#include "codec/row.h"
#include "failing_malloc.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t seed = 88172645463325252u;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double double_of(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A finite double: random bits, near a power of two, few decimals, subnormal. */
static double random_double(int i)
{
    double value;

    switch (i % 5) {
    case 0:
        do
            value = double_of(next_random());
        while (!isfinite(value));
        return value;
    case 1:
        return ldexp(1.0, (int)(next_random() % 2098) - 1074);
    case 2:
        return (double)(int64_t)(next_random() % 2000000000) / 100;
    case 3:
        return double_of(next_random() % (UINT64_C(1) << 52));
    default:
        return (double)(next_random() >> 11) / 9007199254740992.0 * 100;
    }
}

static double parsed(const char *text)
{
    return cs_parse_double(text, strlen(text));
}

static const char *put(cs_buf *b, void (*write)(cs_buf *, double), double value)
{
    cs_buf_clear(b);
    write(b, value);
    assert_int_equal(cs_buf_check(b, NULL), CSYNC_OK);
    return b->data;
}

static void parse_double__reads_what_any_writer_writes(void **state)
{
    (void)state;
    for (int i = 0; i < 200000; i++) {
        double value = random_double(i);
        char text[40];

        snprintf(text, sizeof text, i % 3 == 0 ? "%.17g" : i % 3 == 1 ? "%.18g" : "%.20e", value);
        if (bits_of(parsed(text)) != bits_of(value))
            fail_msg("%s became %.17g", text, parsed(text));
    }
}

static void parse_double__is_strtod_for_short_decimals(void **state)
{
    (void)state;
    for (int i = 0; i < 200000; i++) {
        char text[40];

        snprintf(text, sizeof text, "%s%llu.%0*llue%d", i % 2 ? "-" : "",
                 (unsigned long long)(next_random() % 100000000), i % 9 + 1,
                 (unsigned long long)(next_random() % 1000), (int)(next_random() % 60) - 30);
        if (bits_of(parsed(text)) != bits_of(strtod(text, NULL)))
            fail_msg("%s became %.17g", text, parsed(text));
    }
}

static void parse_double__knows_the_forms_of_triggers(void **state)
{
    (void)state;
    assert_true(parsed("1.0e+16") == 1e16);
    assert_true(parsed("0.100000000000000006") == 0.1);
    assert_true(parsed("9e999") == INFINITY);
    assert_true(parsed("-9e999") == -INFINITY);
    assert_true(parsed("1e-9999999999999999999999") == 0);
    assert_true(bits_of(parsed("-0.0")) == bits_of(-0.0));
    assert_true(parsed("4.9406564584124654e-324") == double_of(1));
}

/* Digits without end still decide how a half is rounded. */
static void parse_double__uses_every_digit(void **state)
{
    char text[5000];

    (void)state;
    memset(text, '0', sizeof text);
    memcpy(text, "9007199254740993.", 17); /* half way between two doubles: to the even one */
    text[sizeof text - 1] = 0;
    assert_true(parsed(text) == 9007199254740992.0);
    text[sizeof text - 2] = '1';
    assert_true(parsed(text) == 9007199254740994.0);
    memset(text, '0', sizeof text - 1);
    memcpy(text + sizeof text - 8, "123e9", 6);
    assert_true(parsed(text) == 123e9);
    memcpy(text, "0.", 2);
    memcpy(text + sizeof text - 9, "25e4990", 8);
    assert_true(parsed(text) == 2.5);
}

static void put_real__reads_back_to_the_same_bits(void **state)
{
    cs_buf b = {0};

    (void)state;
    for (int i = 0; i < 200000; i++) {
        double value = random_double(i);
        const char *text = put(&b, cs_put_real, i % 2 ? value : -value);

        if (bits_of(fabs(strtod(text, NULL))) != bits_of(fabs(value)) || !strpbrk(text, ".e"))
            fail_msg("%.17g became %s", value, text);
    }
    assert_string_equal(put(&b, cs_put_real, 1), "1.0");
    assert_string_equal(put(&b, cs_put_real, -0.0), "-0.0");
    assert_string_equal(put(&b, cs_put_real, 0), "0.0");
    assert_string_equal(put(&b, cs_put_real, INFINITY), "9e999");
    assert_string_equal(put(&b, cs_put_real, -INFINITY), "-9e999");
    assert_string_equal(put(&b, cs_put_real, NAN), "{\"$f\":\"NaN\"}");
    assert_string_equal(put(&b, cs_put_real, 123456789012345680000.0), "123456789012345680000.0");
    cs_buf_free(&b);
}

static void plain_decimals__are_compared_without_a_double(void **state)
{
    static const struct {
        const char *a, *b;
        int same, fits, is_int64; /* of a */
    } cases[] = {{"1.50", "1.5", 1, 1, 0},
                 {"-0.0", "0", 1, 1, 0},
                 {"007", "7", 1, 1, 1},
                 {"1e3", "1000", 0, 1, 0},
                 {"1.", "1", 0, 1, 0},
                 {"", "", 0, 1, 0},
                 {"-1", "1", 0, 1, 1},
                 {"0.123456789012345678", "0.123456789012345679", 0, 0, 0},
                 {"0.1234567890123456", "0.1234567890123456", 1, 1, 0},
                 {"9007199254740993", "9007199254740992", 0, 0, 1},
                 {"9223372036854775807", "9223372036854775808", 0, 0, 1},
                 {"-9223372036854775808", "-9223372036854775808", 1, 0, 1},
                 {"-9223372036854775809", "9223372036854775809", 0, 0, 0},
                 {"100000000000000000000", "100000000000000000000.0", 1, 1, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *a = cases[i].a, *b = cases[i].b;

        if (cs_same_decimal(a, strlen(a), b, strlen(b)) != cases[i].same ||
            cs_fits_double(a, strlen(a)) != cases[i].fits ||
            cs_fits_int64(a, strlen(a)) != cases[i].is_int64)
            fail_msg("case %zu: %s and %s", i, a, b);
    }
}

/* RFC 8785, appendix B, and what is hard about shortest digits. */
static const struct {
    uint64_t bits;
    const char *text;
} es6[] = {
    {0x0000000000000000, "0"},
    {0x8000000000000000, "0"},
    {0x0000000000000001, "5e-324"},
    {0x8000000000000001, "-5e-324"},
    {0x7fefffffffffffff, "1.7976931348623157e+308"},
    {0xffefffffffffffff, "-1.7976931348623157e+308"},
    {0x4340000000000000, "9007199254740992"},
    {0xc340000000000000, "-9007199254740992"},
    {0x4430000000000000, "295147905179352830000"},
    {0x44b52d02c7e14af5, "9.999999999999997e+22"},
    {0x44b52d02c7e14af6, "1e+23"},
    {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
    {0x444b1ae4d6e2ef4e, "999999999999999700000"},
    {0x444b1ae4d6e2ef4f, "999999999999999900000"},
    {0x444b1ae4d6e2ef50, "1e+21"},
    {0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
    {0x3eb0c6f7a0b5ed8d, "0.000001"},
    {0x41b3de4355555553, "333333333.3333332"},
    {0x41b3de4355555554, "333333333.33333325"},
    {0x41b3de4355555555, "333333333.3333333"},
    {0x41b3de4355555556, "333333333.3333334"},
    {0x41b3de4355555557, "333333333.33333343"},
    {0xbecbf647612f3696, "-0.0000033333333333333333"},
    {0x43143ff3c1cb0959, "1424953923781206.2"},
    {0x3d30000000000000, "5.684341886080802e-14"}, /* 2^-44: the nearest 16 digits do not read back */
    {0x0010000000000000, "2.2250738585072014e-308"},
    {0x3ff0000000000000, "1"},
    {0x3fb999999999999a, "0.1"},
    {0x4415af1d78b58c40, "100000000000000000000"},
};

static void number_es6__is_that_of_ecmascript(void **state)
{
    cs_buf b = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(es6); i++)
        assert_string_equal(put(&b, cs_put_number_es6, double_of(es6[i].bits)), es6[i].text);
    cs_buf_free(&b);
}

static void numbers__do_not_depend_on_the_locale(void **state)
{
    cs_buf b = {0};
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "nl_NL.UTF-8"};
    const char *found = NULL;

    (void)state;
    for (size_t i = 0; i < COUNT(names) && !found; i++)
        found = setlocale(LC_ALL, names[i]);
    if (!found)
        print_message("no locale with a decimal comma here: only the C locale is tried\n");
    assert_string_equal(put(&b, cs_put_real, 0.1234567890123), "0.1234567890123");
    assert_string_equal(put(&b, cs_put_real, 1e-300), "1e-300");
    assert_true(parsed("0.1234567890123456789") == 0.1234567890123456789);
    assert_true(parsed("2.2250738585072011e-308") < 2.2250738585072014e-308);
    setlocale(LC_ALL, "C");
    cs_buf_free(&b);
}

static void int_parse__keeps_every_digit(void **state)
{
    static const struct {
        const char *text;
        int rc;
        int64_t want;
    } cases[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"9223372036854775807", 0, INT64_MAX},
        {"-9223372036854775808", 0, INT64_MIN},
        {"9007199254740993", 0, 9007199254740993},
        {"9223372036854775808", -1, 0},
        {"-9223372036854775809", -1, 0},
        {"99999999999999999999", -1, 0},
        {"", -1, 0},
        {"-", -1, 0},
        {"1x", -1, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t value = 0;

        assert_int_equal(cs_int_parse(cases[i].text, strlen(cases[i].text), &value), cases[i].rc);
        assert_true(value == cases[i].want);
    }
}

/* ---- Strings -------------------------------------------------------------------------------------- */

static void utf8__is_valid_or_not(void **state)
{
    static const char *const good[] = {"",
                                       "abcdefghij",
                                       "\xC2\x80",
                                       "\xDF\xBF",
                                       "\xE0\xA0\x80",
                                       "\xED\x9F\xBF",
                                       "\xEE\x80\x80",
                                       "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80",
                                       "\xF4\x8F\xBF\xBF",
                                       "12345678\xC3\xA9"};
    static const char *const bad[] = {"\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xC2",
                                      "\xC2\x41",
                                      "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",
                                      "\xED\xBF\xBF",
                                      "\xE2\x82",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xF0\x9F\x98",
                                      "\xFF",
                                      "12345678\xC3"};

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(cs_utf8_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(cs_utf8_valid(bad[i], strlen(bad[i])));
}

/* Every byte at every offset of a chunk comes back as it was. */
static void put_string__comes_back_at_every_offset(void **state)
{
    (void)state;
    for (int c = 0; c < 128; c++)
        for (size_t len = 1; len < 70; len++) {
            char text[80];
            cs_buf b = {0};
            cs_row row = {0};
            const char *name;
            size_t name_len;
            cs_value value;

            memset(text, 'x', len);
            text[len - 1] = (char)c;
            text[len / 2] = (char)c;
            cs_buf_puts(&b, "{\"a\":");
            cs_put_string(&b, text, len);
            cs_buf_puts(&b, "}");
            assert_int_equal(cs_row_open(&row, b.data, b.len, NULL), CSYNC_OK);
            assert_int_equal(cs_row_next(&row, &name, &name_len, &value, NULL), 1);
            assert_int_equal(value.type, CS_TEXT);
            assert_int_equal(value.len, len);
            assert_memory_equal(value.text, text, len);
            cs_row_close(&row);
            cs_buf_free(&b);
        }
}

static void put_string__takes_long_texts_in_pieces(void **state)
{
    size_t len = 1000000;
    char *text = cs_malloc(len);
    cs_buf b = {0};

    (void)state;
    memset(text, '\n', len);
    cs_put_string(&b, text, len);
    assert_int_equal(b.failed, CSYNC_OK);
    assert_int_equal(b.len, 2 * len + 2);
    assert_true(b.cap < 5 * len);
    cs_buf_free(&b);
    cs_free(text);
}

static void put_text__tags_what_is_no_utf8(void **state)
{
    cs_buf b = {0};

    (void)state;
    cs_put_text(&b, "\x01\"\xC3\xA9\x7F", 5);
    cs_put_text(&b, "a\xFF", 2);
    cs_put_blob(&b, "\x00\xAB", 2);
    cs_put_blob(&b, "", 0);
    assert_int_equal(cs_buf_check(&b, NULL), CSYNC_OK);
    assert_string_equal(
        b.data, "\"\\u0001\\\"\xC3\xA9\x7F\"{\"$t\":\"61FF\"}{\"$b\":\"00AB\"}{\"$b\":\"\"}");
    cs_buf_free(&b);
}

static void hex__reads_both_cases_and_nothing_else(void **state)
{
    char out[4];

    (void)state;
    assert_int_equal(cs_hex_decode(out, "00aBFf", 6), 0);
    assert_memory_equal(out, "\x00\xAB\xFF", 3);
    assert_int_equal(cs_hex_decode(out, "0", 1), -1);
    assert_int_equal(cs_hex_decode(out, "0g", 2), -1);
    assert_int_equal(cs_hex_decode(out, "@0", 2), -1);
    assert_int_equal(cs_hex_decode(out, "", 0), 0);
}

/* ---- Rows ----------------------------------------------------------------------------------------- */

static void row__reads_each_kind_of_value(void **state)
{
    static const char json[] =
        " {\"n\":null,\"t\":true,\"f\":false,\"i\":-9223372036854775808,\"big\":18446744073709551615,"
        "\"r\":1.0e+16,\"s\":\"a\\u0000\\n\\uD83D\\uDE00\",\"b\":{ \"$b\" : \"00fF\" },"
        "\"x\":{\"$t\":\"C3\"},\"nan\":{\"$f\":\"NaN\"},\"j\":{\"$b\":\"zz\"},\"k\":[1,{\"a\":[]}],"
        "\"\\u006bey\":\"\"} ";
    static const enum cs_type types[] = {CS_NULL, CS_BOOL, CS_BOOL, CS_INT,  CS_NUMBER,
                                         CS_REAL, CS_TEXT, CS_BLOB, CS_TEXT, CS_REAL,
                                         CS_JSON, CS_JSON, CS_TEXT};
    cs_row row = {0};
    cs_value v[COUNT(types)];
    const char *name;
    size_t name_len;

    (void)state;
    assert_int_equal(cs_row_open(&row, json, sizeof json - 1, NULL), CSYNC_OK);
    for (size_t i = 0; i < COUNT(types); i++) {
        assert_int_equal(cs_row_next(&row, &name, &name_len, &v[i], NULL), 1);
        assert_int_equal(v[i].type, types[i]);
    }
    assert_memory_equal(name, "key", 3);
    assert_int_equal(cs_row_next(&row, &name, &name_len, &v[0], NULL), 0);
    assert_int_equal(cs_row_next(&row, &name, &name_len, &v[0], NULL), 0);
    assert_true(v[1].integer == 1 && v[2].integer == 0 && v[3].integer == INT64_MIN);
    assert_memory_equal(v[4].text, "18446744073709551615", v[4].len);
    assert_true(cs_value_real(&v[4]) == 18446744073709551615.0 && cs_value_real(&v[5]) == 1e16);
    assert_int_equal(v[6].len, 7);
    assert_memory_equal(v[6].text, "a\0\n\xF0\x9F\x98\x80", 7);
    assert_int_equal(v[7].len, 2);
    assert_memory_equal(v[7].text, "\x00\xFF", 2);
    assert_int_equal(v[8].len, 1);
    assert_true(isnan(cs_value_real(&v[9])));
    assert_memory_equal(v[10].text, "{\"$b\":\"zz\"}", v[10].len);
    assert_memory_equal(v[11].text, "[1,{\"a\":[]}]", v[11].len);
    cs_row_close(&row);
}

static void row__comes_back_as_it_was_written(void **state)
{
    static const char json[] =
        "{\"a\":null,\"b\":true,\"c\":12,\"d\":0.100000000000000006,\"e\":\"x\\\"\","
        "\"f\":{\"$b\":\"00FF\"},\"g\":{\"$t\":\"C3\"},\"h\":[1, 2],"
        "\"i\":123456789012345678901234567890,\"j\":{\"$f\":\"NaN\"},\"k\":-9e999}";
    cs_row row = {0};
    cs_buf b = {0};
    const char *name;
    size_t name_len;
    cs_value value;

    (void)state;
    assert_int_equal(cs_row_open(&row, json, sizeof json - 1, NULL), CSYNC_OK);
    while (cs_row_next(&row, &name, &name_len, &value, NULL) == 1) {
        cs_buf_putc(&b, b.len ? ',' : '{');
        cs_put_string(&b, name, name_len);
        cs_buf_putc(&b, ':');
        cs_put_value(&b, &value);
    }
    cs_buf_putc(&b, '}');
    assert_int_equal(cs_buf_check(&b, NULL), CSYNC_OK);
    assert_string_equal(b.data, json);
    cs_buf_free(&b);
    cs_row_close(&row);
}

static const char *const bad_rows[] = {
    "",
    " ",
    "{",
    "[]",
    "1",
    "null",
    "{\"a\":1",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "{\"a\":1}x",
    "{\"a\":1}{",
    "{\"a\":01}",
    "{\"a\":-}",
    "{\"a\":+1}",
    "{\"a\":1.}",
    "{\"a\":.5}",
    "{\"a\":1e}",
    "{\"a\":1e+}",
    "{\"a\":0x1}",
    "{\"a\":NaN}",
    "{\"a\":Infinity}",
    "{\"a\":tru}",
    "{\"a\":True}",
    "{\"a\":nul}",
    "{\"a\":'x'}",
    "{a:1}",
    "{\"a\":\"\t\"}",
    "{\"a\":\"\\x\"}",
    "{\"a\":\"\\u12\"}",
    "{\"a\":\"\\u12G4\"}",
    "{\"a\":\"\\ud83d\"}",
    "{\"a\":\"\\ude00\"}",
    "{\"a\":\"\\ud83d\\u0041\"}",
    "{\"a\":\"\\ud83dx\"}",
    "{\"a\":\"x}",
    "{\"a\":\"\\\"}",
    "{\"a\":\"\xFF\"}",
    "{\"a\":\"\xED\xA0\x80\"}",
    "{\"\xC3\":1}",
    "{\"\":1}",
    "{\"a\\u0000b\":1}",
    "{\"a\":[1,]}",
    "{\"a\":[1 2]}",
    "{\"a\":[}",
    "{\"a\":{\"b\"}}",
    "{\"a\":{1:2}}",
    "{\"a\":[1}]",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1,,\"b\":2}",
    "\xEF\xBB\xBF{\"a\":1}",
    "{\"a\":1}\x01",
    "{\"a\":{\"$b\":\"00\"}",
    "{\"a\":{\"$b\":\"00}",
};

static int walk(const char *json, size_t len)
{
    cs_row row = {0};
    const char *name;
    size_t name_len;
    cs_value value;
    int rc = cs_row_open(&row, json, len, NULL), more = 1;

    while (rc == CSYNC_OK && (more = cs_row_next(&row, &name, &name_len, &value, NULL)) == 1)
        ;
    cs_row_close(&row);
    return rc == CSYNC_OK ? more : rc;
}

static void row__refuses_what_is_no_json_object(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad_rows); i++) {
        size_t len = strlen(bad_rows[i]);
        char *exact = cs_strndup(bad_rows[i], len); /* so that the sanitizer sees a byte too many */
        csync_error err = CSYNC_ERROR_INIT;

        if (walk(exact, len) != CSYNC_EINVAL || cs_row_check(exact, len, 0, &err) != CSYNC_EINVAL)
            fail_msg("%s was read", bad_rows[i]);
        assert_non_null(strstr(err.message, "row JSON, byte "));
        cs_free(exact);
    }
}

static void row__does_not_go_on_after_a_fault(void **state)
{
    cs_row row = {0};
    const char *name;
    size_t name_len;
    cs_value value;

    (void)state;
    assert_int_equal(cs_row_next(&row, &name, &name_len, &value, NULL), CSYNC_EMISUSE);
    assert_int_equal(cs_row_open(&row, "{\"a\":x}", 7, NULL), CSYNC_OK);
    assert_int_equal(cs_row_next(&row, &name, &name_len, &value, NULL), CSYNC_EINVAL);
    assert_int_equal(cs_row_next(&row, &name, &name_len, &value, NULL), CSYNC_EMISUSE);
    cs_row_close(&row);
}

static void row_check__counts_members_and_finds_repeated_names(void **state)
{
    (void)state;
    assert_int_equal(cs_row_check("{}", 2, 0, NULL), CSYNC_OK);
    assert_int_equal(cs_row_check("{}", 2, 1, NULL), CSYNC_EINVAL);
    assert_int_equal(cs_row_check("{\"a\":1}", 7, 1, NULL), CSYNC_OK);
    assert_int_equal(cs_row_check("{\"a\":1,\"A\":2}", 13, 1, NULL), CSYNC_OK);
    assert_int_equal(cs_row_check("{\"a\":1,\"a\":2}", 13, 1, NULL), CSYNC_EINVAL);
    assert_int_equal(cs_row_check("{\"a\":1,\"\\u0061\":2}", 18, 1, NULL), CSYNC_EINVAL);
}

static void names__are_compared_however_many_there_are(void **state)
{
    (void)state;
    for (int count = 2; count < 300; count += 31)
        for (int is_repeated = 0; is_repeated <= 1; is_repeated++) {
            cs_buf b = {0};

            for (int i = 0; i < count; i++)
                cs_buf_printf(&b, "%c\"column_number_%d\":%d", i ? ',' : '{',
                              is_repeated && i == count - 1 ? count / 2 : i, i);
            cs_buf_puts(&b, "}");
            assert_int_equal(cs_row_check(b.data, b.len, 1, NULL),
                             is_repeated && count / 2 != count - 1 ? CSYNC_EINVAL : CSYNC_OK);
            cs_buf_free(&b);
        }
}

static void depth__is_limited_to_64(void **state)
{
    (void)state;
    for (int depth = 62; depth <= 66; depth++) {
        char json[200] = "{\"a\":", *w = json + 5;
        int want = depth <= 64 ? CSYNC_OK : CSYNC_EINVAL;
        cs_buf b = {0};

        for (int i = 1; i < depth; i++)
            *w++ = '[';
        for (int i = 1; i < depth; i++)
            *w++ = ']';
        *w++ = '}';
        assert_int_equal(walk(json, (size_t)(w - json)), want);
        assert_int_equal(cs_row_check(json, (size_t)(w - json), 1, NULL), want);
        assert_int_equal(cs_canonical_json(&b, json, (size_t)(w - json), NULL), want);
        cs_buf_free(&b);
    }
}

static void row__takes_invalid_utf8_when_told_to(void **state)
{
    cs_row row = {.any_bytes = 1};
    const char *name;
    size_t name_len;
    cs_value value;
    cs_buf b = {0};

    (void)state;
    assert_int_equal(cs_row_open(&row, "{\"a\":\"x\xFF\\n\xC3\"}", 13, NULL), CSYNC_OK);
    assert_int_equal(cs_row_next(&row, &name, &name_len, &value, NULL), 1);
    cs_put_value(&b, &value);
    assert_int_equal(cs_buf_check(&b, NULL), CSYNC_OK);
    assert_string_equal(b.data, "{\"$t\":\"78FF0AC3\"}");
    cs_buf_free(&b);
    cs_row_close(&row);
}

static const char *const canonical[][2] = {
    {"1.0", "1"},
    {" 1e21 ", "1e+21"},
    {"1E-7", "1e-7"},
    {"-0", "0"},
    {"-0.0", "0"},
    {"0.100000000000000006", "0.1"},
    {"9223372036854775807", "9223372036854775807"},
    {"123456789012345678901234567890", "123456789012345678901234567890"},
    {"12345678901234567890.1234567890", "12345678901234567890.123456789"},
    {"-12345678901234567890.000", "-12345678901234567890"},
    {"1.00000000000000000000000", "1"},
    {"0.00000000000000000000000", "0"},
    {"1.2345678901234567890123e5", "1.2345678901234567890123e+5"},
    {"9e999", "9e999"},
    {"-1e400", "-9e999"},
    {"true", "true"},
    {"[ ]", "[]"},
    {"{ }", "{}"},
    {"\"\\u00e9\\/\\u000a\\u001F\\u2028\"", "\"\xC3\xA9/\\n\\u001f\xE2\x80\xA8\""},
    {"[1, {\"b\":[{\"d\":1,\"c\":2}],\"a\":{}}]", "[1,{\"a\":{},\"b\":[{\"c\":2,\"d\":1}]}]"},
    {"{\"b\":{\"y\":1,\"x\":2},\"a\":[],\"aa\":1,\"\":0}",
     "{\"\":0,\"a\":[],\"aa\":1,\"b\":{\"x\":2,\"y\":1}}"},
    {"{\"\xEE\x80\x80\":1,\"\xF0\x9F\x98\x80\":2,\"\xEF\xBF\xBD\":3,\"z\":4}",
     "{\"z\":4,\"\xF0\x9F\x98\x80\":2,\"\xEE\x80\x80\":1,\"\xEF\xBF\xBD\":3}"},
    {"{\"\\r\":1,\"1\":2,\"\\u0080\":3,\"\\u00f6\":4,\"\\u20ac\":5,\"\\ud83d\\ude00\":6,\"\\ufb33\":7}",
     "{\"\\r\":1,\"1\":2,\"\xC2\x80\":3,\"\xC3\xB6\":4,\"\xE2\x82\xAC\":5,\"\xF0\x9F\x98\x80\":6,"
     "\"\xEF\xAC\xB3\":7}"},
};

static void canonical_json__sorts_and_spells_one_way(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(canonical); i++) {
        char *text;

        assert_int_equal(csync_canonical_json(canonical[i][0], strlen(canonical[i][0]), &text, NULL),
                         CSYNC_OK);
        assert_string_equal(text, canonical[i][1]);
        csync_free(text);
    }
}

static void canonical_json__refuses_what_has_no_canonical_form(void **state)
{
    static const char *const bad[] = {"",
                                      "  ",
                                      "{",
                                      "[1",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"b\":1,\"a\":2,\"\\u0062\":3}",
                                      "[{\"x\":{\"a\":1,\"a\":1}}]",
                                      "1 2",
                                      "nul",
                                      "\"\\ud800\""};

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        csync_error err = CSYNC_ERROR_INIT;
        char *text = "";

        assert_int_equal(csync_canonical_json(bad[i], strlen(bad[i]), &text, &err), CSYNC_EINVAL);
        assert_null(text);
        assert_non_null(strstr(err.message, "JSON, byte "));
    }
    assert_int_equal(csync_canonical_json(NULL, 0, NULL, NULL), CSYNC_EMISUSE);
}

static void canonical_value__is_neutral(void **state)
{
    static const cs_value values[] = {
        {.type = CS_BOOL, .integer = 1},
        {.type = CS_INT, .integer = 1},
        {.type = CS_REAL, .real = 1.0},
        {.type = CS_REAL, .text = "1.50", .len = 4},
        {.type = CS_BLOB, .text = "\xAB", .len = 1},
        {.type = CS_JSON, .text = "{\"b\":1, \"a\":true}", .len = 17},
        {.type = CS_JSON, .text = "{\"a\":1, \"a\":2}", .len = 14}, /* as it stands */
        {.type = CS_NULL},
    };
    cs_buf b = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(values); i++)
        cs_canonical_value(&b, &values[i]);
    assert_int_equal(cs_buf_check(&b, NULL), CSYNC_OK);
    assert_string_equal(b.data, "1111.5{\"$b\":\"AB\"}{\"a\":true,\"b\":1}{\"a\":1, \"a\":2}null");
    cs_buf_free(&b);
}

/* ---- Memory ----------------------------------------------------------------------------------------- */

static int run_canonical(void *ctx)
{
    char *text = NULL;
    csync_error err = CSYNC_ERROR_INIT;
    int rc = csync_canonical_json(ctx, strlen(ctx), &text, &err);

    csync_free(text);
    return rc;
}

static int run_row(void *ctx)
{
    csync_error err = CSYNC_ERROR_INIT;
    int rc = walk(ctx, strlen(ctx));

    return rc ? rc : cs_row_check(ctx, strlen(ctx), 1, &err);
}

static void memory_failure__is_reported_and_leaves_nothing(void **state)
{
    cs_buf wide = {0};

    (void)state;
    for (int i = 200; i > 0; i--)
        cs_buf_printf(&wide, "%c\"\\u0063%d\":{\"$b\":\"00\"}", i == 200 ? '{' : ',', i);
    cs_buf_puts(&wide, "}");
    assert_int_equal(cs_buf_check(&wide, NULL), CSYNC_OK);
    assert_true(failing_malloc_each(run_canonical, wide.data, FAILING_STRICT) > 5);
    assert_true(failing_malloc_each(run_row, wide.data, FAILING_STRICT) > 2);
    cs_buf_free(&wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_double__reads_what_any_writer_writes),
        cmocka_unit_test(parse_double__is_strtod_for_short_decimals),
        cmocka_unit_test(parse_double__knows_the_forms_of_triggers),
        cmocka_unit_test(parse_double__uses_every_digit),
        cmocka_unit_test(put_real__reads_back_to_the_same_bits),
        cmocka_unit_test(number_es6__is_that_of_ecmascript),
        cmocka_unit_test(numbers__do_not_depend_on_the_locale),
        cmocka_unit_test(int_parse__keeps_every_digit),
        cmocka_unit_test(utf8__is_valid_or_not),
        cmocka_unit_test(put_string__comes_back_at_every_offset),
        cmocka_unit_test(put_string__takes_long_texts_in_pieces),
        cmocka_unit_test(put_text__tags_what_is_no_utf8),
        cmocka_unit_test(hex__reads_both_cases_and_nothing_else),
        cmocka_unit_test(row__reads_each_kind_of_value),
        cmocka_unit_test(row__comes_back_as_it_was_written),
        cmocka_unit_test(row__refuses_what_is_no_json_object),
        cmocka_unit_test(row__does_not_go_on_after_a_fault),
        cmocka_unit_test(row_check__counts_members_and_finds_repeated_names),
        cmocka_unit_test(names__are_compared_however_many_there_are),
        cmocka_unit_test(depth__is_limited_to_64),
        cmocka_unit_test(plain_decimals__are_compared_without_a_double),
        cmocka_unit_test(row__takes_invalid_utf8_when_told_to),
        cmocka_unit_test(canonical_json__sorts_and_spells_one_way),
        cmocka_unit_test(canonical_json__refuses_what_has_no_canonical_form),
        cmocka_unit_test(canonical_value__is_neutral),
        cmocka_unit_test(memory_failure__is_reported_and_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
