/* clock.c - UTC milliseconds since 1970 and their text. */

#include "base/clock.h"

#include <time.h>

#define MS_PER_DAY INT64_C(86400000)

static void put_digits(char *out, unsigned value, int n)
{
    while (n--) {
        out[n] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* Days since 1970 <-> date, in years that begin in March, so that the leap day comes last. */
static void date_of(unsigned days, unsigned *year, unsigned *month, unsigned *day)
{
    unsigned z = days + 719468; /* since 0000-03-01 */
    unsigned era = z / 146097, of_era = z % 146097;
    unsigned years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * years + years / 4 - years / 100);
    unsigned shifted = (5 * of_year + 2) / 153;

    *day = of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = years + era * 400 + (*month <= 2);
}

static int64_t days_of(unsigned year, unsigned month, unsigned day)
{
    unsigned y =
        month <= 2 ? year + 399 : year + 400; /* 400 years on, so that year 0 stays positive */
    unsigned era = y / 400, of_era = y % 400;
    unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    return (int64_t)era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 146097 -
           719468;
}

void cs_time_format(int64_t ms, char out[CS_TIME_SIZE])
{
    unsigned year, month, day, of_day;

    ms = ms < CS_TIME_MIN ? CS_TIME_MIN : ms > CS_TIME_MAX ? CS_TIME_MAX : ms;
    date_of((unsigned)(ms / MS_PER_DAY), &year, &month, &day);
    of_day = (unsigned)(ms % MS_PER_DAY);
    put_digits(out, year, 4);
    put_digits(out + 5, month, 2);
    put_digits(out + 8, day, 2);
    put_digits(out + 11, of_day / 3600000, 2);
    put_digits(out + 14, of_day / 60000 % 60, 2);
    put_digits(out + 17, of_day / 1000 % 60, 2);
    put_digits(out + 20, of_day % 1000, 3);
    out[4] = out[7] = '-';
    out[10] = 'T';
    out[13] = out[16] = ':';
    out[19] = '.';
    out[23] = 'Z';
    out[24] = 0;
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* `n` digits at p; UINT_MAX-like when one is none, which fails every range check. */
static unsigned digits(const char *p, int n)
{
    unsigned value = 0, bad = 0;

    for (int i = 0; i < n; i++) {
        unsigned d = (unsigned)(unsigned char)p[i] - '0';

        bad |= d > 9;
        value = value * 10 + d;
    }
    return bad ? 1000000 : value;
}

static unsigned month_days(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && is_leap);
}

/* The 19 bytes YYYY-MM-DDTHH:MM:SS. A leap second sets *is_leap_second. */
static int parse_seconds(const char *p, int64_t *seconds, int *is_leap_second)
{
    unsigned year = digits(p, 4), month = digits(p + 5, 2), day = digits(p + 8, 2);
    unsigned hour = digits(p + 11, 2), minute = digits(p + 14, 2), second = digits(p + 17, 2);

    if (p[4] != '-' || p[7] != '-' || p[13] != ':' || p[16] != ':' ||
        (p[10] != 'T' && p[10] != 't' && p[10] != ' '))
        return -1;
    if (year > 9999 || month < 1 || month > 12 || day < 1 || day > month_days(year, month) ||
        hour > 23 || minute > 59 || second > 60)
        return -1;
    *is_leap_second = second == 60;
    *seconds =
        days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - *is_leap_second;
    return 0;
}

/* Z, or +HH:MM: seconds to take off. The text must end behind it. */
static int parse_zone(const char *p, const char *end, int64_t *offset)
{
    unsigned hours, minutes;

    *offset = 0;
    if (end - p == 1 && (*p == 'Z' || *p == 'z'))
        return 0;
    if (end - p != 6 || (*p != '+' && *p != '-') || p[3] != ':')
        return -1;
    hours = digits(p + 1, 2);
    minutes = digits(p + 4, 2);
    if (hours > 23 || minutes > 59)
        return -1;
    *offset = (int64_t)(hours * 3600 + minutes * 60) * (*p == '-' ? -1 : 1);
    return 0;
}

int cs_time_parse(const char *text, size_t len, int64_t *ms)
{
    const char *p = text + 19, *end = text + len;
    int64_t seconds, offset, fraction = 0, at;
    int is_leap_second, scale = 100;

    *ms = 0;
    if (len < 20 || parse_seconds(text, &seconds, &is_leap_second) != 0)
        return -1;
    if (*p == '.') {
        if (++p == end || !is_digit(*p))
            return -1;
        for (; p < end && is_digit(*p); p++, scale /= 10)
            fraction += (*p - '0') * scale;
    }
    if (parse_zone(p, end, &offset) != 0)
        return -1;
    at = (seconds - offset) * 1000 + (is_leap_second ? 999 : fraction);
    if (at < CS_TIME_MIN || at > CS_TIME_MAX)
        return -1;
    *ms = at;
    return 0;
}

int64_t cs_time_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
