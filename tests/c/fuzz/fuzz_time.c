/* fuzz_time.c - cs_time_parse: what is accepted lies in its range and comes back the same. */
#include "base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[CS_TIME_SIZE];
    int64_t ms, again;

    if (cs_time_parse((const char *)data, size, &ms) != 0)
        return 0;
    cs_time_format(ms, text);
    if (ms < CS_TIME_MIN || ms > CS_TIME_MAX ||
        cs_time_parse(text, CS_TIME_SIZE - 1, &again) != 0 || again != ms)
        __builtin_trap();
    return 0;
}
