-- wrk: use the next API key of a file with each request.
local keys, turn = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    keys[#keys + 1] = wrk.format(nil, nil, {["Authorization"] = "Bearer " .. line, ["Host"] = wrk.headers["Host"]})
  end
end

function request()
  turn = turn % #keys + 1
  return keys[turn]
end
