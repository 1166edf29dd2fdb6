/* library.c - libraries that are opened at run time. */
#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

int cs_library_open(const cs_library *library, void *handle, void *out, csync_error *err)
{
    if (!handle)
        handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return cs_fail(err, CSYNC_EUNSUPPORTED, "%s, which %s, cannot be opened (Debian: %s): %s",
                       library->name, library->purpose, library->package, dlerror());
    for (size_t i = 0; i < library->symbol_count; i++) {
        void *function = dlsym(handle, library->symbols[i].name);

        if (!function)
            return cs_fail(err, CSYNC_EUNSUPPORTED, "this %s has no %s", library->name,
                           library->symbols[i].name);
        memcpy((char *)out + library->symbols[i].offset, &function, sizeof function);
    }
    return CSYNC_OK;
}
