-- Phones: each request is another fan's and has a new scan id. For wrk, one thread.
-- Arguments: number of the round, file of the phones' requests, file for the ids of accepted scans.

local phones, sent = {}, 0
local round, out
answered = {}  -- by status; global, so that `done` can read it

function init(arguments)
   round = tonumber(arguments[1])
   for line in io.lines(arguments[2]) do
      local before, after = line:gsub("\\r\\n", "\r\n"):match("^(.*)@(.*)$")
      phones[#phones + 1] = { before, after }
   end
   out = assert(io.open(arguments[3], "w"))
   out:setvbuf("full", 65536)
end

function request()
   sent = sent + 1
   local phone = phones[sent % #phones + 1]
   return string.format("%s%08x-0000-7000-8000-%012x%s", phone[1], round, sent, phone[2])
end

function response(status, headers, body)
   answered[status] = (answered[status] or 0) + 1
   if status == 201 then
      out:write(body:match('"id":"([%x-]+)"'), "\n")
   elseif answered[status] <= 2 then
      io.write("! ", status, " ", body, "\n")
   end
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
   local errors = summary.errors
   io.write(string.format(
      '{"seconds":%.6f,"p50_ms":%.3f,"p95_ms":%.3f,"broken":%d,"answered":{%s}}\n',
      summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
      errors.connect + errors.read + errors.write + errors.timeout, table.concat(counts, ",")))
end
