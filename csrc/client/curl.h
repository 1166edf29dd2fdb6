/* curl.h - libcurl, opened at run time: its functions are called through a table. */
#ifndef CS_CURL_H
#define CS_CURL_H
#define CURL_DISABLE_TYPECHECK /* its macros would take a member of the table for the function itself */
#include <curl/curl.h>

#include "base/error.h"

#define CS_CURL_FUNCTIONS(X)                                                                       \
    X(curl_global_init)                                                                            \
    X(curl_easy_init)                                                                              \
    X(curl_easy_cleanup)                                                                           \
    X(curl_easy_reset)                                                                             \
    X(curl_easy_setopt)                                                                            \
    X(curl_easy_getinfo)                                                                           \
    X(curl_easy_strerror)                                                                          \
    X(curl_multi_init)                                                                             \
    X(curl_multi_cleanup)                                                                          \
    X(curl_multi_add_handle)                                                                       \
    X(curl_multi_remove_handle)                                                                    \
    X(curl_multi_perform)                                                                          \
    X(curl_multi_poll)                                                                             \
    X(curl_multi_wakeup)                                                                           \
    X(curl_multi_info_read)                                                                        \
    X(curl_multi_strerror)                                                                         \
    X(curl_slist_append)                                                                           \
    X(curl_slist_free_all)                                                                         \
    X(curl_url)                                                                                    \
    X(curl_url_cleanup)                                                                            \
    X(curl_url_set)                                                                                \
    X(curl_url_get)                                                                                \
    X(curl_getdate)                                                                                \
    X(curl_free)

typedef struct cs_curl {
#define CS_CURL_MEMBER(name) __typeof__(&(name)) name;
    CS_CURL_FUNCTIONS(CS_CURL_MEMBER)
#undef CS_CURL_MEMBER
} cs_curl;

/* libcurl, ready for use; the same one each time. Any thread. CSYNC_EUNSUPPORTED: there is none, or one that is too old. */
int cs_curl_open(const cs_curl **out, csync_error *err);
#endif
