---@meta csync
-- The types of the module csync, for LuaLS. script/check_lua.py holds this file against the module and against Python.

--- What the world does wrong is `nil, message, code, detail`; what the caller does wrong is raised.

---@class csync.Detail
---@field code string "CSYNC_EDB" and so on: docs/lua.md
---@field message string
---@field native_code integer SQLite's extended result code, PostgreSQL's SQLSTATE, or 0
---@field table? string
---@field version? csync.Integer
---@field expected? string of CSYNC_EHASH and CSYNC_ECLOCK
---@field actual? string
---@field oldest_version? csync.Integer of CSYNC_EFULLRESYNC: where the peer's log begins now
---@field client_version? csync.Integer of CSYNC_EFULLRESYNC: where this replica stands

---@alias csync.Integer integer|string A string of digits where a number cannot hold it.
---@alias csync.Value nil|boolean|number|string|userdata|csync.Blob|csync.Tagged
---@alias csync.Row table<string, csync.Value>

---@class csync.Blob
---@field value string
---@class csync.Tagged
---@field value number|string

---@class csync.Change
---@field version csync.Integer position in the log of the replica that it was read from; 0: none
---@field table_name string
---@field pk csync.Row
---@field operation "insert"|"update"|"delete"
---@field payload? csync.Row nil for a delete
---@field origin string
---@field timestamp string "YYYY-MM-DDTHH:MM:SS.mmmZ"
---@field seq? csync.Integer
---@field pk_json string
---@field payload_json? string

---@class csync.Position
---@field version csync.Integer
---@field epoch? string
---@field origin? string
---@field cursor? string
local Position = {}
--- A JSON text that csync.Position.from_json reads.
---@return string
function Position:to_json() end

---@class csync.Batch
---@field [integer] csync.Change
---@field origin? string
---@field from_version csync.Integer
---@field to_version csync.Integer
---@field epoch? string
---@field cursor? string
---@field has_more boolean
---@field hash string
local Batch = {}
---@return fun(): csync.Change?
function Batch:each() end
---@return string
function Batch:to_json() end

---@class csync.Outcome
---@field status "applied"|"duplicate"|"lost"|"parked"|"rejected"|"conflict"
---@field reason string
---@field winner? csync.Change

---@class csync.Outcomes
---@field [integer] csync.Outcome
---@field position csync.Integer
---@field epoch? string
local Outcomes = {}
---@return fun(): csync.Outcome?
function Outcomes:each() end
---@return string
function Outcomes:to_json() end

---@class csync.Result
---@field pulled integer
---@field pushed integer
---@field duplicates integer
---@field lost integer
---@field conflicts integer
---@field parked integer
---@field rejected integer
---@field batches integer
---@field bytes integer
---@field repaired integer
---@field ahead_ms integer
---@field resyncs integer
---@field outcomes? csync.Outcomes of apply

---@class csync.Progress
---@field phase "pulling"|"pushing"|"verifying"
---@field changes integer
---@field bytes integer
---@field total integer

---@alias csync.Decision "local"|"remote"|"delete"|csync.Row
---@alias csync.Resolver fun(mine: csync.Change, theirs: csync.Change, base: csync.Change?): csync.Decision

---@class csync.SyncOptions
---@field strategy? "last-write-wins"|"server-wins"|"client-wins"|"custom"
---@field on_conflict? csync.Resolver
---@field batch_size? integer 1 to 10000; 1000
---@field max_retry_passes? integer 3
---@field progress? fun(progress: csync.Progress)
---@field full_resync? boolean true

---@class csync.SessionOptions: csync.SyncOptions
---@field direction? "both"|"pull"|"push"
---@field conflicts? "steps" a conflict is a step of its own

---@class csync.Remote
---@field fetch? fun(position: csync.Position, batch_size: integer): csync.Batch|csync.Change[]?, string?, string?, csync.Detail?
---@field send? fun(batch: csync.Batch): csync.Outcomes|csync.Result?, string?, string?, csync.Detail?
---@field digest? fun(request: string): string?, string?, string?, csync.Detail?
---@field name? string

---@class csync.Replica
---@field origin string
---@field closed boolean
local Replica = {}
function Replica:close() end
--- Stops the running call, from a callback of it.
function Replica:cancel() end
---@return string? hex
function Replica:hash() end
---@return table? state { origin, max_version, last_server_version, last_push_version, tables, parked, conflicts }
function Replica:state() end
---@param ... string|{ capture: "full"|"keys" }
---@return true?
function Replica:track(...) end
---@param ... string
---@return true?
function Replica:untrack(...) end
---@return { name: string, capture: string, key: string[], columns: string[] }[]?
function Replica:tables() end
---@param peer csync.Replica|csync.Remote
---@param options? csync.SyncOptions
---@return csync.Result?
function Replica:sync(peer, options) end
---@param peer csync.Replica|csync.Remote
---@param options? csync.SyncOptions
---@return csync.Result?
function Replica:pull(peer, options) end
---@param peer csync.Replica|csync.Remote
---@param options? csync.SyncOptions
---@return csync.Result?
function Replica:push(peer, options) end
---@param since? csync.Integer|csync.Position
---@param limit? integer
---@param options? { max_bytes: integer }
---@return csync.Batch?
function Replica:changes(since, limit, options) end
---@param changes csync.Batch|csync.Change[]
---@param options? csync.SyncOptions
---@return csync.Result?
function Replica:apply(changes, options) end
---@param table? string
---@param pk? csync.Row|string
---@param options? { since: csync.Integer, id: string }
---@return csync.Subscription?
function Replica:subscribe(table, pk, options) end
---@param days? integer
---@return table[]?
function Replica:clients(days) end
---@param days? integer
---@return table[]?
function Replica:stale_clients(days) end
---@param origin string
---@param version? csync.Integer
---@return true?
function Replica:register_client(origin, version) end
---@param origin string
---@return true?
function Replica:forget_client(origin) end
---@param days? integer
---@return csync.Integer?
function Replica:safe_purge_version(days) end
---@param days? integer
---@return { version: csync.Integer, entries: integer, tombstones: integer }?
function Replica:purge(days) end
---@return table[]?
function Replica:parked() end
---@return table[]?
function Replica:lag() end
---@return { level: "error" | "warning" | "info", subject: string, text: string, help: string }[]?
function Replica:doctor() end
---@param since_id? integer
---@param limit? integer
---@return table[]?
function Replica:conflicts(since_id, limit) end
---@param peer csync.Replica|csync.Remote
---@param options? { repair: boolean, limit: integer, progress: fun(progress: csync.Progress) }
---@return table?
function Replica:verify(peer, options) end
---@param request string
---@return string?
function Replica:digest(request) end
---@param sql string
---@param ... csync.Value
---@return csync.Value[][]?
function Replica:execute(sql, ...) end
---@param block fun()
---@return true?
function Replica:suppressed(block) end

---@class csync.Step
---@field kind "fetch"|"send"|"conflict"|"done"
---@field since? csync.Position
---@field limit? integer
---@field max_bytes? integer
---@field batch? csync.Batch
---@field request? { method: string, path: string, query: string, headers: table<string, string>, body: string? }
---@field mine? csync.Change
---@field theirs? csync.Change
---@field base? csync.Change

---@class csync.Session
---@field result csync.Result
local Session = {}
---@return csync.Step?
function Session:next() end
---@return true?
function Session:feed(answer, message, code, detail) end
---@param changes csync.Batch|csync.Change[]
---@return true?
function Session:page(changes) end
---@param answer? csync.Outcomes|csync.Result
---@return true?
function Session:outcome(answer) end
---@param message string
---@param code? string
---@param detail? csync.Detail
---@return true?
function Session:refused(message, code, detail) end
---@param answer csync.Decision
---@return true?
function Session:decide(answer) end
function Session:close() end

---@class csync.Subscription
---@field id string
---@field version csync.Integer
---@field closed boolean
local Subscription = {}
---@param timeout? number seconds; 0: do not wait; nil: for ever
---@return csync.Batch?
function Subscription:next(timeout) end
---@return fun(): csync.Change?
function Subscription:each() end
---@return integer
function Subscription:fileno() end
function Subscription:close() end

---@class csync.Api
---@operator call(table): { status: integer, headers: table<string, string>, body: string }

---@class csync
---@field version string
---@field null userdata
---@field Batch { from_json: fun(text: string): csync.Batch? }|fun(changes?: csync.Change[], info?: table): csync.Batch?
---@field Outcomes { from_json: fun(text: string): csync.Outcomes? }
---@field Position { new: (fun(fields: table): csync.Position), from_json: fun(text: string): csync.Position? }
local csync = {}
---@param database string|userdata
---@param options? { origin: string, timeout: number, foreign_keys: boolean, owner: any }
---@return csync.Replica?
function csync.open(database, options) end
---@param db csync.Replica
---@param peer string
---@param options? csync.SessionOptions
---@return csync.Session?
function csync.Session(db, peer, options) end
---@param fields table
---@return csync.Change
function csync.Change(fields) end
---@param functions csync.Remote
---@return csync.Remote
function csync.remote(functions) end
---@param url string
---@param options { request: fun(method: string, url: string, headers: table, body: string?): integer?, string?, token: string? }
---@return csync.Remote?
function csync.http(url, options) end
---@param databases csync.Replica|table<string, csync.Replica>
---@param options? { grants: { token: string, client: string?, database: string?, may: string[]?, tables: string[]?, expires: number? }[], max_body: integer? }
---@return csync.Api?
function csync.api(databases, options) end
---@param bytes string
---@return csync.Blob
function csync.blob(bytes) end
---@param digits string|number
---@return csync.Tagged
function csync.integer(digits) end
---@param number number
---@return csync.Tagged
function csync.real(number) end
---@param changes csync.Batch|csync.Change[]
---@return string?
function csync.batch_hash(changes) end
---@return true?
function csync.verify_hash(expected, actual) end
---@return string?
function csync.canonical_json(text) end
---@param mine csync.Change
---@param theirs csync.Change
---@param strategy? string
---@return "local"|"remote"|nil
function csync.resolve(mine, theirs, strategy) end
---@param db csync.Replica
---@param table string
---@param options? { capture: "full"|"keys" }
---@return string?
function csync.trigger_sql(db, table, options) end
---@param fn? fun(level: string, text: string)
---@param level? "debug"|"info"|"warning"|"error"
function csync.set_log(fn, level) end

return csync
