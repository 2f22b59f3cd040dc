-- Without a token: sign-ins of different people, each from another address, so that no rate limit is reached.
-- Without accounts: sign-ins of anonymous fans, who have no password. With a token: its owner's profile at a low rate.
-- For wrk, one thread.
-- Arguments: the number of the round, of accounts (0: anonymous fans), and of sign-ins per second (0: no limit);
-- or a token.

local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long us; } moment; int gettimeofday(moment *, void *);")

local round, accounts, rate, token = 0, 0, 0, nil
local sent, due = 0, nil
answered = {}

function init(arguments)
   if #arguments == 1 then
      token = arguments[1]
   else
      round, accounts, rate = tonumber(arguments[1]), tonumber(arguments[2]), tonumber(arguments[3])
   end
end

local function sign_in()
   local address = string.format("10.%d.%d.%d", round, math.floor(sent / 250) % 250, sent % 250)
   local path, body = "anonymous", ""
   if accounts > 0 then
      path = "login"
      body = string.format('{"email":"person%d@bench.example","password":"correct horse battery"}', sent % accounts)
   end
   return wrk.format("POST", "/api/v1/auth/" .. path, {
      ["Host"] = "bench", ["Content-Type"] = "application/json", ["X-Forwarded-For"] = address }, body)
end

function request()
   sent = sent + 1
   if token then
      return wrk.format("GET", "/api/v1/users/me", { ["Host"] = "bench", ["Authorization"] = "Bearer " .. token })
   end
   return sign_in()
end

local function now_ms()
   local moment = ffi.new("moment")
   ffi.C.gettimeofday(moment, nil)
   return tonumber(moment.s) * 1000 + tonumber(moment.us) / 1000
end

-- One after the other at the rate, whichever connection's turn it is; what is late is not made up for.
local function until_due()
   due = math.max(now_ms(), (due or 0) + 1000 / rate)
   return math.floor(due - now_ms())
end

function delay()
   if token then
      return 40
   end
   return rate > 0 and until_due() or 0
end

function response(status, headers, body)
   answered[status] = (answered[status] or 0) + 1
end

local threads = {}

function setup(thread)
   threads[#threads + 1] = thread
end

function done(summary, latency, requests)
   local counts = {}
   for status, count in pairs(threads[1]:get("answered")) do
      counts[#counts + 1] = string.format('"%d":%d', status, count)
   end
   io.write(string.format(
      '{"seconds":%.6f,"p50_ms":%.3f,"p95_ms":%.3f,"answered":{%s}}\n', summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, table.concat(counts, ",")))
end
