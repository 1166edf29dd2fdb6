/* curl.c - finds libcurl when the first URL is opened. */
#include "client/curl.h"

#include <pthread.h>

#include "base/library.h"

#define CURL_ENTRY(name) CS_SYMBOL(cs_curl, name)
static const cs_symbol functions[] = {CS_CURL_FUNCTIONS(CURL_ENTRY)};
#undef CURL_ENTRY

static const cs_library libcurl = {
    "libcurl",  "libcurl.so.4", "the client of a server needs",
    "libcurl4", functions,      sizeof functions / sizeof *functions};

/* What came of opening it. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static csync_error opened;
static cs_curl table;

/* It stays initialised: others in the process may use it too, and it has no count that a library could trust. */
static void open_once(void)
{
    opened = (csync_error)CSYNC_ERROR_INIT;
    opened.code = cs_library_open(&libcurl, NULL, &table, &opened);
    if (opened.code == CSYNC_OK && table.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        opened.code = cs_fail(&opened, CSYNC_EUNSUPPORTED, "libcurl cannot be initialised");
}

int cs_curl_open(const cs_curl **out, csync_error *err)
{
    pthread_once(&once, open_once);
    if (opened.code != CSYNC_OK)
        cs_error_copy(err, &opened);
    *out = opened.code == CSYNC_OK ? &table : NULL;
    return opened.code;
}
