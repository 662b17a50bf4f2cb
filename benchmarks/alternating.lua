-- wrk: requests of several kinds in turn, a block of each. Writes a line per block: its kind, and the CPU time of the
-- server per request in microseconds. Arguments: the process id of the server, the requests of a block, how many of
-- these are not measured, the file to write, a body to post or "", and a file of API keys for each kind.
local ffi = require("ffi")
ffi.cdef[[
  typedef struct { long seconds; long nanoseconds; } time;
  int clock_gettime(int clock, time *now);
]]
local now = ffi.new("time")
local server, block, skipped, results
local kinds, kind, sent, began = {}, 1, 0, 0

local function cpu()
  -- As `clock_getcpuclockid` computes it for a process.
  assert(ffi.C.clock_gettime(bit.bor(bit.lshift(bit.bnot(server), 3), 2), now) == 0)
  return tonumber(now.seconds) * 1e6 + tonumber(now.nanoseconds) / 1e3
end

function init(arguments)
  server, block, skipped = tonumber(arguments[1]), tonumber(arguments[2]), tonumber(arguments[3])
  results = assert(io.open(arguments[4], "w"))
  results:setvbuf("line")
  if arguments[5] ~= "" then
    local file = assert(io.open(arguments[5], "rb"))
    wrk.method, wrk.body = "POST", file:read("*a")
    wrk.headers["Content-Type"] = "application/json"
    file:close()
  end
  for index = 6, #arguments do
    local requests = {turn = 0}
    for key in io.lines(arguments[index]) do
      wrk.headers["Authorization"] = "Bearer " .. key
      requests[#requests + 1] = wrk.format()
    end
    kinds[#kinds + 1] = requests
  end
end

function request()
  if sent == skipped then began = cpu() end
  if sent == block then
    results:write(kind, " ", (cpu() - began) / (block - skipped), "\n")
    sent, kind = 0, kind % #kinds + 1
  end
  sent = sent + 1
  local requests = kinds[kind]
  requests.turn = requests.turn % #requests + 1
  return requests[requests.turn]
end
