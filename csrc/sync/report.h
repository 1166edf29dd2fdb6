/* report.h - lists for people and scripts, as JSON. */
#ifndef CS_REPORT_H
#define CS_REPORT_H
#include "sync/replica.h"

int cs_report_tables(csync *c, char **json, csync_error *err);
int cs_report_doctor(csync *c, char **json, csync_error *err);
int cs_report_lag(csync *c, char **json, csync_error *err);
int cs_report_parked(csync *c, char **json, csync_error *err);
int cs_report_clients(csync *c, int stale_days, char **json, csync_error *err);
int cs_report_conflicts(csync *c, int64_t since, int limit, char **json, csync_error *err);
#endif
