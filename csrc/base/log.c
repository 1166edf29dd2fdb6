/* log.c - the log hook. */
#include <stdarg.h>
#include <stddef.h>

#include "base/log.h"
#include "base/text.h"

static csync_log_fn hook;
static void *hook_data;
static int hook_level;

void csync_set_log(csync_log_fn fn, void *user_data, int min_level)
{
    hook = fn;
    hook_data = user_data;
    hook_level = min_level;
}

void cs_log(int level, const char *format, ...)
{
    char message[1024];
    va_list args;

    if (!hook || level < hook_level)
        return;
    va_start(args, format);
    cs_text_format(message, sizeof message, format, args);
    va_end(args);
    hook(hook_data, level, message);
}
