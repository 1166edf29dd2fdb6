/* mhd.h - libmicrohttpd, opened at run time: its functions are called through a table. */
#ifndef CS_MHD_H
#define CS_MHD_H
#include <microhttpd.h>

#include "base/error.h"

#define CS_MHD_FUNCTIONS(X)                                                                        \
    X(MHD_get_version)                                                                             \
    X(MHD_is_feature_supported)                                                                    \
    X(MHD_start_daemon)                                                                            \
    X(MHD_quiesce_daemon)                                                                          \
    X(MHD_stop_daemon)                                                                             \
    X(MHD_get_connection_info)                                                                     \
    X(MHD_get_connection_values_n)                                                                 \
    X(MHD_create_response_from_buffer_with_free_callback_cls)                                      \
    X(MHD_create_response_from_callback)                                                           \
    X(MHD_add_response_header)                                                                     \
    X(MHD_queue_response)                                                                          \
    X(MHD_destroy_response)                                                                        \
    X(MHD_suspend_connection)                                                                      \
    X(MHD_resume_connection)

typedef struct cs_mhd {
#define CS_MHD_MEMBER(name) __typeof__(&(name)) name;
    CS_MHD_FUNCTIONS(CS_MHD_MEMBER)
#undef CS_MHD_MEMBER
} cs_mhd;

/* CSYNC_EUNSUPPORTED: there is no libmicrohttpd, or one without what the server needs. */
int cs_mhd_open(cs_mhd *out, csync_error *err);
#endif
