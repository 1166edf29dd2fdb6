/* log.h - the log hook. */
#ifndef CS_LOG_H
#define CS_LOG_H
#include "base/error.h"

void cs_log(int level, const char *format, ...) CS_PRINTF(2, 3);
#endif
