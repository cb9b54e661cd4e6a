-- Moves the oldest messages of the queue, adopted ones before all others, to the list of each consumer: to all of them or to none.
--
-- KEYS: the queue, its adopted messages, the sorted set of agents, then for each consumer: its list, the list of its adopted messages
-- ARGV: this agent's entry among the agents, at most so many messages, at about how many bytes to end, the consumer that has none
--       left (from 1), then for each consumer: how many messages may wait in its list (0 for any number), "required" or ""
-- Answers with the number of messages moved and, for each consumer, the number of its oldest that were dropped at its bound; -1 when
-- the agent's entry has expired; -2 when a required consumer is at its bound; -3 when that consumer has some by now.
local now = redis.call('TIME')
local expiry = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not expiry or tonumber(expiry) <= now[1] * 1000 + math.floor(now[2] / 1000) then
  return -1
end
local asks = 2 + 2 * tonumber(ARGV[4])
if redis.call('EXISTS', KEYS[asks], KEYS[asks + 1]) > 0 then
  return -3
end
local adopted = redis.call('EXISTS', KEYS[2])
local from, most, room = KEYS[1 + adopted], tonumber(ARGV[2]), tonumber(ARGV[3])
local consumers, answer = (#KEYS - 3) / 2, {0}
for i = 1, consumers do
  for key = 2 + 2 * i, 3 + 2 * i do
    local kind = redis.call('TYPE', KEYS[key]).ok
    if kind ~= 'none' and kind ~= 'list' then
      return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
    end
  end
  local bound = tonumber(ARGV[3 + 2 * i])
  if bound > 0 and ARGV[4 + 2 * i] == 'required' then
    most = math.min(most, bound - redis.call('LLEN', KEYS[2 + 2 * i]))
  end
  answer[1 + i] = 0
end
local waiting = redis.call('LLEN', from)
if waiting == 0 then
  return answer
end
if most <= 0 then
  return -2
end
-- What could fail is tried first, with a write that needs no memory: see take.lua.
redis.call('LTRIM', from, 0, -1)
local moved, step = 0, 1
while moved < most and room > 0 do
  local chunk = redis.call('LRANGE', from, -math.min(step, most - moved), -1)
  if #chunk == 0 then
    break
  end
  local oldest_first = {}
  for i = #chunk, 1, -1 do
    oldest_first[#oldest_first + 1] = chunk[i]
    room = room - #chunk[i]
  end
  for i = 1, consumers do
    redis.call('LPUSH', KEYS[2 + 2 * i + adopted], unpack(oldest_first))
  end
  redis.call('LTRIM', from, 0, -#chunk - 1)
  moved = moved + #chunk
  step = math.min(step * 2, 100)
end
answer[1] = moved
for i = 1, consumers do
  local bound = tonumber(ARGV[3 + 2 * i])
  local excess = bound > 0 and redis.call('LLEN', KEYS[2 + 2 * i]) - bound or 0
  if excess > 0 then
    redis.call('LTRIM', KEYS[2 + 2 * i], 0, -excess - 1)
    answer[1 + i] = excess
  end
end
return answer
