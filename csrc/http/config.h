/* config.h - the server's options from a file. */
#ifndef CS_CONFIG_H
#define CS_CONFIG_H
#include "csync.h"

/* Fills in what `options` leaves open from the file options->config. Its texts live in *texts, which is the caller's also
 * after a failure. */
int cs_config_load(csync_server_options *options, csync_batch **texts, csync_error *err);
#endif
