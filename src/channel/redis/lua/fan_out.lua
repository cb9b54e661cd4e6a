-- Moves the oldest messages of the queue, adopted ones before all others, to each consumer: to all of them or to none. A consumer that
-- waits for messages and has none left gets them under a lease at once, any other one in its list.
--
-- KEYS: the queue, its adopted messages, the sorted set of agents, then for each consumer: its list, the list of its adopted messages,
--       its sorted set of leases, the lease that it waits for
-- ARGV: this agent's entry among the agents, at most so many messages, at about how many bytes to end, the consumer that asks
--       (from 1), a lease's duration in ms, the largest message that is leased in bytes, how many messages of the leases have come
--       before, then for each consumer: how many messages may wait in its list (0 for any number), "required" or "", the lease's name
--       or "" when it has none
-- Answers with the number of messages moved; for each consumer, the number of its oldest that were dropped at its bound and whether (1)
-- it has a lease of what was moved; and then the messages, if there is any lease. -1 when the agent's entry has expired; -2 when a
-- required consumer is at its bound; -3 when the consumer that asks has some in its list; -4 when a lease that was to be given more is
-- not registered any more, or a failover has undone some of it.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local expiry = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not expiry or tonumber(expiry) <= now then
  return -1
end
local consumers = {}
for i = 1, (#KEYS - 3) / 4 do
  local key, arg = 4 * i, 5 + 3 * i
  consumers[i] = {
    list = KEYS[key], adopted = KEYS[key + 1], leases = KEYS[key + 2], lease = KEYS[key + 3],
    bound = tonumber(ARGV[arg]), required = ARGV[arg + 1] == 'required', name = ARGV[arg + 2],
    has_some = redis.call('EXISTS', KEYS[key], KEYS[key + 1]) > 0,
  }
end
if consumers[tonumber(ARGV[4])].has_some then
  return -3
end
local adopted = redis.call('EXISTS', KEYS[2])
local from, most, room, largest = KEYS[1 + adopted], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
local oldest = redis.call('LINDEX', from, -1)
-- What is adopted or too large is dealt with by who takes it from a list.
local direct = adopted == 0 and oldest and #oldest <= largest
local had = tonumber(ARGV[7])
local more = had > 0
if more and not direct then
  oldest = false
end
local leased, answer = 0, {0}
for _, consumer in ipairs(consumers) do
  for _, key in ipairs({consumer.list, consumer.adopted}) do
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'none' and kind ~= 'list' then
      return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
    end
  end
  consumer.is_leased = direct and consumer.name ~= '' and (more or not consumer.has_some)
  if more and consumer.name ~= ''
    and not (redis.call('ZSCORE', consumer.leases, consumer.name) and redis.call('LLEN', consumer.lease) == had) then
    return -4
  end
  if consumer.is_leased then
    leased = leased + 1
  elseif consumer.bound > 0 and consumer.required then
    most = math.min(most, consumer.bound - redis.call('LLEN', consumer.list))
  end
  answer[#answer + 1] = 0
  answer[#answer + 1] = consumer.is_leased and 1 or 0
end
if not oldest then
  return answer
end
if most <= 0 then
  return -2
end
-- What could fail is tried first, with a write that needs no memory: see take.lua.
redis.call('LTRIM', from, 0, -1)
for _, consumer in ipairs(consumers) do
  if consumer.is_leased and not more then
    redis.call('ZADD', consumer.leases, now + ARGV[5], consumer.name)
  end
end
local moved, step, full = 0, 1, false
while moved < most and room > 0 and not full do
  local chunk = redis.call('LRANGE', from, -math.min(step, most - moved), -1)
  local oldest_first = {}
  for i = #chunk, 1, -1 do
    local size = #chunk[i]
    if direct and (size > largest or (size > room and (more or moved + #oldest_first > 0))) then
      full = true
      break
    end
    oldest_first[#oldest_first + 1] = chunk[i]
    room = room - size
    if leased > 0 then
      answer[#answer + 1] = chunk[i]
    end
  end
  local count = #oldest_first
  if count == 0 then
    break
  end
  for _, consumer in ipairs(consumers) do
    local to = consumer.is_leased and consumer.lease or adopted == 1 and consumer.adopted or consumer.list
    redis.call('LPUSH', to, unpack(oldest_first))
  end
  redis.call('LTRIM', from, 0, -count - 1)
  moved = moved + count
  step = math.min(step * 2, 100)
end
answer[1] = moved
for i, consumer in ipairs(consumers) do
  local excess = consumer.bound > 0 and not consumer.is_leased and redis.call('LLEN', consumer.list) - consumer.bound or 0
  if excess > 0 then
    redis.call('LTRIM', consumer.list, 0, -excess - 1)
    answer[2 * i] = excess
  end
end
return answer
