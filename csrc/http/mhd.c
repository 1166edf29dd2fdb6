/* mhd.c - finds libmicrohttpd when a server is started. */
#include "http/mhd.h"

#include "base/library.h"

#define MHD_ENTRY(name) CS_SYMBOL(cs_mhd, name)
static const cs_symbol functions[] = {CS_MHD_FUNCTIONS(MHD_ENTRY)};
#undef MHD_ENTRY

static const cs_library libmicrohttpd = {"libmicrohttpd",    "libmicrohttpd.so.12",
                                         "the server needs", "libmicrohttpd12",
                                         functions,          sizeof functions / sizeof *functions};

int cs_mhd_open(cs_mhd *out, csync_error *err)
{
    int rc = cs_library_open(&libmicrohttpd, NULL, out, err);

    if (rc == CSYNC_OK && out->MHD_is_feature_supported(MHD_FEATURE_EPOLL) != MHD_YES)
        rc = cs_fail(err, CSYNC_EUNSUPPORTED, "this libmicrohttpd was built without epoll");
    return rc;
}
