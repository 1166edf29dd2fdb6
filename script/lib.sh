# lib.sh - sourced by the scripts beside it: where the repository is, progress lines, logs, a lock.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p build
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

say() { printf 'csync: %s\n' "$*"; }

die() {
    printf 'csync: %s\n' "$*" >&2
    exit 1
}

# quiet NAME COMMAND...: output goes to build/NAME.log; its last lines are shown when the command fails.
quiet() {
    local log=build/$1.log
    shift
    "$@" >"$log" 2>&1 </dev/null && return
    local rc=$?
    tail -n 30 "$log" >&2
    say "failed: $* (all of its output: $log)" >&2
    return $rc
}

# locked COMMAND...: one at a time in this tree, so that two terminals can't build over each other.
locked() { (
    flock 9
    "$@" 9>&-
) 9>build/.lock; }

# configure NAME DIR OPTION...: afresh where the tree was moved or copied since.
configure() {
    if [ -e "$2/CMakeCache.txt" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$2/CMakeCache.txt"; then
        set -- "$@" --fresh
    fi
    quiet "configure-$1" cmake -S . -B "$2" -G Ninja "${@:3}"
}

# compile NAME DIR [--target TARGET...]
compile() { quiet "build-$1" cmake --build "$2" -j "$(nproc)" "${@:3}"; }

# cmake_build NAME DIR OPTION...: configures and builds DIR.
cmake_build() { configure "$@" && compile "$1" "$2"; }
