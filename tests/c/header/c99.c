/* c99.c - csync.h alone, as C99. */
#include "csync.h"

int main(void)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_sync_options options = {sizeof options,        CSYNC_BOTH, 0, 0, 0,
                                  CSYNC_LAST_WRITE_WINS, 0,          0, 0};

    return err.code == CSYNC_OK && options.direction == CSYNC_BOTH && csync_version()[0] != 0 ? 0 : 1;
}
