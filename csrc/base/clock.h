/* clock.h - UTC milliseconds since 1970, and their text. */
#ifndef CS_CLOCK_H
#define CS_CLOCK_H
#include <stddef.h>
#include <stdint.h>

#define CS_TIME_SIZE 25 /* YYYY-MM-DDTHH:MM:SS.mmmZ and the NUL */
#define CS_TIME_MIN INT64_C(0)
#define CS_TIME_MAX INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

/* `ms` is taken into CS_TIME_MIN..CS_TIME_MAX. */
void cs_time_format(int64_t ms, char out[CS_TIME_SIZE]);
/* RFC 3339 with any number of fraction digits (more than three are cut off) and Z or an offset.
 * Returns 0, or -1 when it is none, the date does not exist, or it lies outside the range above. A leap
 * second (:60) is read as :59.999. */
int cs_time_parse(const char *text, size_t len, int64_t *ms);
int64_t cs_time_now(void); /* the wall clock, for what goes into no stamp */
#endif
