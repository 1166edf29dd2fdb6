// cxx.cc - csync.h alone, as C++.
#include "csync.h"

int main()
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_open_options options = csync_open_options();

    options.struct_size = sizeof options;
    return err.code == CSYNC_OK && options.origin == nullptr && csync_code_name(0)[0] != 0 ? 0 : 1;
}
