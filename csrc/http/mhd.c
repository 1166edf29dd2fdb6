/* mhd.c - finds libmicrohttpd when a server is started. */
#include "http/mhd.h"

#include <dlfcn.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
#define MHD_ENTRY(name) {#name, offsetof(cs_mhd, name)},
    CS_MHD_FUNCTIONS(MHD_ENTRY)
#undef MHD_ENTRY
};

/* Never closed: it may be the process's own. */
int cs_mhd_open(cs_mhd *out, csync_error *err)
{
    void *library = dlopen("libmicrohttpd.so.12", RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return cs_fail(
            err, CSYNC_EUNSUPPORTED,
            "libmicrohttpd, which the server needs, cannot be opened (Debian: libmicrohttpd12): %s",
            dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *function = dlsym(library, functions[i].name);

        if (!function)
            return cs_fail(err, CSYNC_EUNSUPPORTED, "this libmicrohttpd has no %s",
                           functions[i].name);
        memcpy((char *)out + functions[i].offset, &function, sizeof function);
    }
    if (out->MHD_is_feature_supported(MHD_FEATURE_EPOLL) != MHD_YES)
        return cs_fail(err, CSYNC_EUNSUPPORTED, "this libmicrohttpd was built without epoll");
    return CSYNC_OK;
}
