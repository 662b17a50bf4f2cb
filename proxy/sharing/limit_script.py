"""The Lua script that decides on limits of callers in Valkey, in one step for all limits of a request.

Each caller and each group is one key: a map, packed with MessagePack, from kind and unit (`requests/m`) to a counter. A
sliding counter is {times, counts, debt, time of the debt}, as `proxy.limits.sliding_window` keeps it; a calendar
counter is {period, used, highest limit in the period}; calls in progress are a map from each process to {number, time,
message, since, granted}, the last three as in `proxy.sharing.own_calls.Snapshot`, but with all grants. Times are
seconds by the clock of the server: those of the processes need not agree.
"""

from __future__ import annotations

from proxy.limits.sliding_window import EXACT, SLOTS

STALE_SECONDS = 15
"""Seconds without a report of a process after which its calls in progress are not counted any more."""
_MAX_KEPT = 10 * 366 * 86_400
"""Maximum seconds for which a debt is kept after the last change."""

DECIDE = (
    """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local me, changes, claims = unpack(cmsgpack.unpack(ARGV[1]))
local seconds_of = {s = 1, m = 60, h = 3600}
local longest_of = {s = 1, m = 60, h = 3600, d = 86400, month = 2678400}
local kept_of = {s = 60, m = 240, h = 14400, d = 259200, month = 5356800}
local states, kept, is_changed = {}, {}, #changes > 0
for index, key in ipairs(KEYS) do
  local data = redis.call('GET', key)
  local is_map, state = pcall(cmsgpack.unpack, data)
  states[index] = data and is_map and type(state) == 'table' and state or {}
  kept[index] = 60
end

local function push(counter, at, count)
  table.insert(counter[1], at)
  table.insert(counter[2], count)
end

local function sum(counter)
  local total = counter[3]
  for _, count in ipairs(counter[2]) do total = total + count end
  return total
end

-- Drops what has expired; a debt takes its place.
local function advance(counter, seconds, limit)
  local times, counts, debt = counter[1], counter[2], counter[3]
  local size = #times
  if size == 0 or times[1] + seconds > now then return end
  local last = times[size]
  is_changed = is_changed or debt > 0
  if debt > 0 and last + seconds <= now then
    local periods = math.floor((now - last) / seconds)
    local rest = debt - limit * (periods - 1)
    counter[1], counter[2], counter[3] = {}, {}, 0
    if rest > 0 then
      push(counter, last + periods * seconds, math.min(rest, limit))
      counter[3] = math.max(0, rest - limit)
    end
    return
  end
  counter[1], counter[2] = {}, {}
  local expired = {}
  for index, at in ipairs(times) do
    if at + seconds > now then push(counter, at, counts[index])
    elseif debt > 0 then
      local paid = math.min(debt, counts[index])
      debt = debt - paid
      table.insert(expired, {at + seconds, paid})
    end
  end
  for _, entry in ipairs(expired) do push(counter, entry[1], entry[2]) end
  counter[3] = debt
end

-- Adds an amount that fits in the window.
local function record(counter, at, count, seconds, limit)
  local times, counts = counter[1], counter[2]
  local last, grain = times[#times], limit > EXACT and seconds / SLOTS or 0
  if last and (last >= at or (grain > 0 and math.floor(last / grain) == math.floor(at / grain))) then
    times[#times], counts[#counts] = math.max(last, at), counts[#counts] + count
  else
    push(counter, at, count)
  end
end

-- Counts as much of the debt as fits in the window.
local function pay(counter, at, seconds, limit)
  local fits = math.min(counter[3], limit - (sum(counter) - counter[3]))
  if fits <= 0 then return end
  is_changed = true
  counter[3] = counter[3] - fits
  record(counter, at, fits, seconds, limit)
end

-- Removes an amount from the entries from this index on. Returns what exceeds them.
local function remove(counter, amount, index)
  local times, counts = counter[1], counter[2]
  while amount > 0 and counts[index] do
    local part = math.min(amount, counts[index])
    counts[index] = counts[index] - part
    amount = amount - part
    if counts[index] == 0 then table.remove(times, index) table.remove(counts, index) end
  end
  return amount
end

-- As `SlidingWindow` does: from the entries since then, from the debt, and from earlier entries.
local function take_back(counter, amount, since)
  local times = counter[1]
  local first = #times + 1
  while first > 1 and times[first - 1] >= since do first = first - 1 end
  local left = remove(counter, amount, first)
  local paid = math.min(left, counter[3])
  counter[3] = counter[3] - paid
  remove(counter, left - paid, 1)
end

local function add(counter, amount, seconds, limit, since)
  if amount < 0 then
    if since > 0 and since + seconds <= now then return end
    local paid_at = math.min(now, math.max(counter[4] or now, counter[1][1] or now))
    take_back(counter, -amount, since)
    pay(counter, paid_at, seconds, limit)
    return
  end
  local fits = math.min(amount, math.max(0, limit - (sum(counter) - counter[3])))
  if fits < amount then counter[3], counter[4] = counter[3] + amount - fits, now end
  if fits > 0 then record(counter, now, fits, seconds, limit) end
end

-- Seconds until no more than `used` is used.
local function seconds_until(counter, used, seconds, limit)
  local need = sum(counter) - used
  if need <= 0 then return 0 end
  for index, at in ipairs(counter[1]) do
    need = need - counter[2][index]
    if need <= 0 then return at + seconds - now end
  end
  local last = counter[1][#counter[1]] or now
  return last + seconds * (1 + math.ceil(need / limit)) - now
end

local function others(counter)
  local total = 0
  for process, value in pairs(counter) do
    if process ~= me and value[2] > now - STALE then total = total + value[1] end
  end
  return total
end

-- The calls in progress of this process: those in its snapshot, and grants whose replies had not arrived then.
local function own(counter, message, since, calls, reported)
  local entry = counter[me]
  if not entry or message > entry[3] then
    local granted = entry and entry[4] == since and math.max(entry[5], reported) or reported
    entry = {calls + granted - reported, now, message, since, granted}
    counter[me] = entry
  end
  return entry
end

-- Keeps a key until a counter is unused: a debt is paid with the limit of each period.
local function keep(index, unit, debt, limit)
  local seconds = longest_of[unit] * (2 + math.ceil(debt / limit))
  kept[index] = math.max(kept[index], kept_of[unit], math.min(seconds, MAX_KEPT))
end

-- The counter of a claim, without what has expired. A claim is {key, kind, unit, limit, amount, period}; in sliding
-- windows the last is when what is taken back was counted, 0 if that is not known; for calls in progress it is
-- the snapshot of this process (`proxy.sharing.own_calls`).
local function counter_of(claim)
  local index, kind, unit, limit, amount, period = unpack(claim)
  local state, name, seconds = states[index], kind .. '/' .. unit, seconds_of[unit]
  if unit == '' then
    state[name] = state[name] or {}
    own(state[name], unpack(period))
    return state[name]
  elseif seconds then
    state[name] = state[name] or {{}, {}, 0}
    local counter = state[name]
    advance(counter, seconds, limit)
    if counter[3] > 0 then pay(counter, now, seconds, limit) end  -- after the limit was raised
    keep(index, unit, counter[3], limit)
    return counter
  end
  state[name] = state[name] or {period, 0, limit}
  local counter = state[name]
  if period > counter[1] then
    local paid = math.max(limit, counter[3]) + limit * (period - counter[1] - 1)
    is_changed = is_changed or counter[2] > paid
    counter[1], counter[2], counter[3] = period, math.max(0, counter[2] - paid), limit
  elseif period < counter[1] - 1 then  -- a wrong clock was far ahead
    is_changed = true
    counter[1], counter[3] = period, limit
  elseif limit > counter[3] then
    is_changed = true
    counter[3] = limit
  end
  keep(index, unit, math.max(0, counter[2] - counter[3]), limit)
  return counter
end

local function apply(claim, counter, is_claim)
  local index, kind, unit, limit, amount, since = unpack(claim)
  if unit == '' then
    local entry = counter[me]
    entry[2] = now
    for process, value in pairs(counter) do
      if value[2] <= now - STALE then counter[process] = nil end
    end
    if is_claim then entry[1], entry[5] = entry[1] + amount, entry[5] + amount end
  elseif seconds_of[unit] then
    add(counter, amount, seconds_of[unit], limit, since)
    keep(index, unit, counter[3], limit)
  else
    counter[2] = math.max(0, counter[2] + amount)
    keep(index, unit, math.max(0, counter[2] - counter[3]), limit)
  end
end

local function decide()
  for _, change in ipairs(changes) do apply(change, counter_of(change)) end

  local counters, waits, granted = {}, {}, true
  for index, claim in ipairs(claims) do
    local _, kind, unit, limit, amount = unpack(claim)
    local counter = counter_of(claim)
    local wait, free = 0, kind == 'tokens' and limit - 1 or limit - amount
    if unit == '' then
      local entry = counter[me]
      -- Of an earlier `since`: the process does not wait for the reply any more, and has decided itself.
      if claim[6][2] < entry[4] or others(counter) + entry[1] + amount > limit then wait = 1 end
    elseif seconds_of[unit] then
      if sum(counter) > free then wait = math.max(0.001, seconds_until(counter, free, seconds_of[unit], limit)) end
    elseif counter[2] > free then
      wait = 1
    end
    counters[index], waits[index] = counter, wait
    granted = granted and wait == 0
  end
  if granted then
    for index, claim in ipairs(claims) do apply(claim, counters[index], true) end
  end

  if granted or is_changed then
    for index, key in ipairs(KEYS) do
      local ttl = math.max(kept[index] * 1000, redis.call('PTTL', key))
      redis.call('SET', key, cmsgpack.pack(states[index]), 'PX', string.format('%.0f', ttl))
    end
  end
  local usage = {}
  for index, claim in ipairs(claims) do
    local _, kind, unit, limit, amount = unpack(claim)
    local counter = counters[index]
    if unit == '' then
      usage[index] = {others(counter) + counter[me][1], waits[index], 0}
    elseif seconds_of[unit] then
      usage[index] = {sum(counter), waits[index], seconds_until(counter, 0, seconds_of[unit], limit)}
    else
      usage[index] = {counter[2], waits[index], counter[3]}
    end
  end
  return cmsgpack.pack({granted, usage, now})
end

local is_read, reply = pcall(decide)
if not is_read then
  -- Another program or version has written a state: the limits begin anew, and replace it.
  for index in ipairs(KEYS) do states[index] = {} end
  is_changed = true
  reply = decide()
end
return reply
""".replace("EXACT", str(EXACT))
    .replace("SLOTS", str(SLOTS))
    .replace("STALE", str(STALE_SECONDS))
    .replace("MAX_KEPT", str(_MAX_KEPT))
)
"""KEYS: of callers and groups. ARGV: MessagePack of this process's name, the changes and the claims. A change is a
claim that is added in any case; for calls in progress, it only reports the counts of this process.

Returns whether the claims are granted; for each claim what is used, the wait, and the seconds until the counter is
unused; and the server time. For a day or a month, the wait is 1 if the limit is exceeded (the process computes the real
one), and the third value is the highest limit in the period."""

PRESENCE = """
local time = redis.call('TIME')
local now = tonumber(time[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - STALE)
redis.call('EXPIRE', KEYS[1], 3600)
return redis.call('ZCARD', KEYS[1])
""".replace("STALE", str(STALE_SECONDS))
"""KEYS: the set of processes. ARGV: this one. Returns how many there are."""
