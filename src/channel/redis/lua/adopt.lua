-- Moves messages of an untouched in-progress list to the adopted ones, the oldest first.
--
-- KEYS: the in-progress list, the list of adopted messages
-- ARGV: the snapshot it must still match, at most so many messages
-- Answers with the number moved and a snapshot of what is left, or false when it does not match.
local function snapshot()
  local count = redis.call('LLEN', KEYS[1])
  if count == 0 then
    return ''
  end
  return count .. ' ' .. redis.sha1hex(redis.call('LINDEX', KEYS[1], 0)) .. ' ' .. redis.sha1hex(redis.call('LINDEX', KEYS[1], -1))
end
if snapshot() ~= ARGV[1] then
  return false
end
local count = redis.call('LLEN', KEYS[1])
if redis.call('LLEN', KEYS[2]) == 0 then
  redis.call('RENAME', KEYS[1], KEYS[2])
  return {count, ''}
end
-- What could fail is tried first: see take.lua.
redis.call('LTRIM', KEYS[1], 0, -1)
local moved, most = 0, math.min(count, tonumber(ARGV[2]))
while moved < most do
  local chunk = redis.call('LRANGE', KEYS[1], -math.min(100, most - moved), -1)
  local oldest_first = {}
  for i = #chunk, 1, -1 do
    oldest_first[#oldest_first + 1] = chunk[i]
  end
  redis.call('LPUSH', KEYS[2], unpack(oldest_first))
  redis.call('LTRIM', KEYS[1], 0, -#chunk - 1)
  moved = moved + #chunk
end
return {moved, snapshot()}
