"""The Lua scripts that Valkey runs: each reads and changes one list in one step.

A list is a hash under one key. `token`: the last one that was issued; `until`: the end of its lease, 0 without one;
`list`, `failure`: what was published, each with its version (the token it was published with) and its time. All times
are microseconds of the server's clock: those of the processes need not agree. A jump of that clock cannot extend a
lease beyond its length.
"""

from __future__ import annotations

_COMMON = """
local key = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function number(name)
  return tonumber(redis.call('HGET', key, name) or '0') or 0
end
local function text(value)
  return string.format('%.0f', value)
end
"""

BEGIN = (
    _COMMON
    + """
local known, lease, force, keep = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1', ARGV[4]
if not force then
  local newest = math.max(number('list_version'), number('failure_version'))
  if newest > known then
    local size = redis.call('HSTRLEN', key, 'list') + redis.call('HSTRLEN', key, 'failure')
    return {'published', text(newest), size}
  end
  local left = number('until') - now
  if left > 0 and left <= lease then
    return {'busy', text(left)}
  end
end
local token = math.max(now, number('token') + 1, known + 1)
redis.call('HSET', key, 'token', text(token), 'until', text(now + lease))
if redis.call('PTTL', key) < 0 then
  redis.call('PEXPIRE', key, keep)
end
return {'turn', text(token)}
"""
)
"""KEYS: the list. ARGV: known version, microseconds of the lease, 1 to force, milliseconds to keep a list.

Tokens begin at the server's time, so that they increase even after all keys were lost."""

RENEW = (
    _COMMON
    + """
if number('token') ~= tonumber(ARGV[1]) then
  return 0
end
local lease = tonumber(ARGV[2])
redis.call('HSET', key, 'until', lease > 0 and text(now + lease) or '0')
return 1
"""
)
"""ARGV: the token, microseconds of the lease from now on; 0 ends it."""

PUBLISH = (
    _COMMON
    + """
local token, kind, data, keep, channel, message = unpack(ARGV)
if number('token') > tonumber(token) then
  return 0
end
redis.call('HSET', key, 'token', token, 'until', '0', kind, data, kind .. '_version', token, kind .. '_at', text(now))
if kind == 'list' then
  redis.call('HDEL', key, 'failure', 'failure_version', 'failure_at')
end
redis.call('PEXPIRE', key, keep)
redis.call('PUBLISH', channel, message)
return 1
"""
)
"""ARGV: the token, `list` or `failure`, the bytes, milliseconds to keep them, the channel and what to send there.

A greater token was issued if the lease ended and another process fetches: then nothing changes."""

ANNOUNCE = (
    _COMMON
    + """
local channel, hint, kept, count = unpack(ARGV)
redis.call('ZADD', key, text(now), hint)
redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - kept * 1000))
redis.call('ZREMRANGEBYRANK', key, 0, -count - 1)
redis.call('PEXPIRE', key, kept)
redis.call('PUBLISH', channel, hint)
return 1
"""
)
"""KEYS: the recent hints. ARGV: the channel, the hint, for how many milliseconds it is kept, and how many are."""

RECENT = (
    _COMMON
    + """
local found = redis.call('ZRANGEBYSCORE', key, text(now - ARGV[1] * 1000), '+inf', 'WITHSCORES')
for place = 2, #found, 2 do
  found[place] = text(math.max(0, now - tonumber(found[place])))
end
return found
"""
)
"""KEYS: the recent hints. ARGV: the milliseconds for which they are kept. Returns each with its age."""

VERSION = (
    _COMMON
    + """
return text(math.max(number('list_version'), number('failure_version')))
"""
)

READ = (
    _COMMON
    + """
local known, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
local result = {text(math.max(number('list_version'), number('failure_version')))}
for _, kind in ipairs({'list', 'failure'}) do
  local data = false
  if number(kind .. '_version') > known and redis.call('HSTRLEN', key, kind) <= max_bytes then
    data = redis.call('HGET', key, kind)
  end
  table.insert(result, data)
  table.insert(result, text(math.max(0, now - number(kind .. '_at'))))
end
return result
"""
)
"""ARGV: known version, maximum bytes of one part. Returns the version; then the bytes and the age of each part."""
