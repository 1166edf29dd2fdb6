/* main.c - the program csync. */
#include "csync.h"

int main(int argc, char **argv)
{
    return csync_program(argc, argv);
}
