"""The Lua scripts that Valkey runs for usage.

Each hour is a hash under one key: the names of a row, joined by `SEPARATOR`, -> its counts, joined by spaces. The index
is a hash from the start of each hour to its version and its number of rows: a process reads again only the hours whose
version has changed. Versions begin at the server's time, so that they also differ after all keys were lost.
"""

from __future__ import annotations

SEPARATOR = "\x1f"

_COMMON = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function text(value)
  return string.format('%.0f', value)
end
local function sum(one, other)
  local counts = {}
  for number in string.gmatch(one, '%d+') do table.insert(counts, tonumber(number)) end
  local place = 0
  for number in string.gmatch(other, '%d+') do
    place = place + 1
    counts[place] = text(math.min((counts[place] or 0) + tonumber(number), 9007199254740992))
  end
  return table.concat(counts, ' ')
end
local function changed(index, key, start)
  local rows = redis.call('HLEN', key)
  if rows == 0 then
    redis.call('HDEL', index, start)
    return
  end
  local version = tonumber(string.match(redis.call('HGET', index, start) or '', '^%d+') or '0')
  redis.call('HSET', index, start, text(math.max(now, version + 1)) .. ' ' .. rows)
end
"""

ADD = (
    _COMMON
    + """
local index, requests, total_key, last_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local number, max_rows, max_requests, kept, kept_number, hours, rows, used = unpack(cmsgpack.unpack(ARGV[1]))
if tonumber(redis.call('GET', last_key) or '0') >= number then
  return 0
end
-- First: if something below fails, calls are lost, but none is counted twice.
redis.call('SET', last_key, number, 'PX', kept_number)
local function is_free_or(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end
local is_foreign = not (is_free_or(index, 'hash') and is_free_or(requests, 'zset') and is_free_or(total_key, 'string'))
if is_foreign then
  used = {}
end
local total = not is_foreign and tonumber(redis.call('GET', total_key) or '0') or 0
local dropped, usable = 0, {}
for place, hour in ipairs(hours) do
  usable[place] = not is_foreign and is_free_or(KEYS[4 + place], 'hash') and hour * 1000 + kept > now / 1000
end
for _, row in ipairs(rows) do
  local place, names, counts, calls, further, all = unpack(row)
  local key = KEYS[4 + place]
  if not usable[place] then
    dropped = dropped + calls
  else
    local before = redis.call('HGET', key, names)
    if not before and total >= max_rows then
      names = further
      before = redis.call('HGET', key, names)
    end
    if not before and total >= max_rows * 1.1 then
      names = all
      before = redis.call('HGET', key, names)
    end
    if not before then
      total = total + 1
    end
    redis.call('HSET', key, names, sum(before or '', counts))
  end
end
for place, hour in ipairs(hours) do
  if usable[place] then
    changed(index, KEYS[4 + place], text(hour))
    redis.call('PEXPIREAT', KEYS[4 + place], text(hour * 1000 + kept))
  end
end
for _, each in ipairs(used) do
  redis.call('ZADD', requests, 'GT', text(each[2] * 1000), each[1])
end
if #used > 0 then
  redis.call('ZREMRANGEBYRANK', requests, 0, -max_requests - 1)
end
if not is_foreign then
  redis.call('SET', total_key, text(total), 'PX', kept)
  redis.call('PEXPIRE', index, kept)
  redis.call('PEXPIRE', requests, kept)
end
return dropped
"""
)
"""KEYS: the index, the last requests, the number of rows, the last batch of the process, then the hours.

ARGV: the number of the batch, the maximum numbers of rows and of last requests, the milliseconds for which an hour and
the number of a batch are kept; the starts of the hours; the rows, each with the place of its hour, its names, its
counts, its calls, and the names under which it is counted when there are too many rows; and the last requests. Returns
the number of calls that were not counted. A batch that was added already changes nothing: it can be sent again when no
reply has arrived."""

INDEX = """
return cmsgpack.pack(redis.call('HGETALL', KEYS[1]))
"""

READ = """
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
return {found[1], cmsgpack.pack(found[2])}
"""
"""KEYS: an hour. ARGV: the cursor, and about how many rows to return. One value, because clients parse many slowly."""

REQUESTS = """
return cmsgpack.pack(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', ARGV[2], ARGV[3]))
"""
"""KEYS: the last requests. ARGV: from this time on, how many to skip, and how many to return at most."""

MOVE = (
    _COMMON
    + """
local index, from, to = unpack(KEYS)
local start, target, count, kept = unpack(ARGV)
local found = redis.call('HSCAN', from, 0, 'COUNT', count)[2]
for place = 1, #found, 2 do
  local names = found[place]
  redis.call('HSET', to, names, sum(redis.call('HGET', to, names) or '', found[place + 1]))
  redis.call('HDEL', from, names)
end
redis.call('PEXPIREAT', to, text(target * 1000 + kept))
changed(index, from, start)
changed(index, to, target)
return redis.call('HLEN', from)
"""
)
"""KEYS: the index, an hour, and the hour that gets its rows. ARGV: the starts of both, how many rows to move, and the
milliseconds for which an hour is kept. Returns the number of rows that are left. Each row is moved in one step."""
