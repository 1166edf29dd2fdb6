rockspec_format = "3.0"
package = "csync"
version = "scm-1"
source = {
    url = "git+file://.", -- luarocks make builds what is there
}
description = {
    summary = "Two-way sync of SQLite and PostgreSQL databases",
    license = "MIT",
}
dependencies = {
    "lua >= 5.1, < 5.5",
}
supported_platforms = { "linux" }
build = {
    type = "command",
    build_command = 'cmake -S . -B build/rock -DCSYNC_LUA=ON -DCSYNC_LUA_INCLUDE_DIR="$(LUA_INCDIR)"'
        .. " && cmake --build build/rock --target lua_rock",
    install = {
        lua = {
            ["csync"] = "bindings/lua/csync.lua",
            ["csync.api"] = "bindings/lua/csync/api.lua",
            ["csync.feed"] = "bindings/lua/csync/feed.lua",
            ["csync.http"] = "bindings/lua/csync/http.lua",
            ["csync.json"] = "bindings/lua/csync/json.lua",
            ["csync.model"] = "bindings/lua/csync/model.lua",
            ["csync.options"] = "bindings/lua/csync/options.lua",
            ["csync.replica"] = "bindings/lua/csync/replica.lua",
            ["csync.session"] = "bindings/lua/csync/session.lua",
            ["csync.values"] = "bindings/lua/csync/values.lua",
        },
        lib = {
            ["csync.core"] = "build/rock/lua/rock/csync/core.so",
        },
    },
}
