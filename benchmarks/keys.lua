-- wrk: use the next line of a file with each request: an API key, or a key and the value of a further header. A second
-- file is posted with each.
local keys, turn = {}, 0

function init(arguments)
  if arguments[2] then
    local file = assert(io.open(arguments[2], "rb"))
    wrk.method = "POST"
    wrk.body = file:read("*a")
    wrk.headers["Content-Type"] = "application/json"
    file:close()
  end
  for line in io.lines(arguments[1]) do
    local key, name, value = line:match("^(%S+)%s*(%S*)%s*(.*)$")
    local headers = {["Authorization"] = "Bearer " .. key, ["Host"] = wrk.headers["Host"]}
    for given, text in pairs(wrk.headers) do headers[given] = text end
    if name ~= "" then headers[name] = value end
    keys[#keys + 1] = wrk.format(nil, nil, headers)
  end
end

function request()
  turn = turn % #keys + 1
  return keys[turn]
end
