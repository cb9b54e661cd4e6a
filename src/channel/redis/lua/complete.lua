-- Settles leases that are still registered: parks their dead letters, forgets their messages. With more dead letters
-- than may be kept the oldest are dropped.
--
-- KEYS: the sorted set of leases, the stream of dead letters, a key that is never there, then for each lease: the lease,
--       its mark of loss
-- ARGV: agent, time, how many dead letters are kept, then for each lease: its name, and its letters as one text, since a command may
--       have only so many arguments: each is which of the lease's messages (from 0, the oldest first), the length of its reason and
--       that of what was refused, each followed by a blank, and then these two
-- Answers for each lease: 1 done, 0 not registered, -1 taken back by another agent after it had expired. At the end
-- comes the number of dead letters that were dropped.
-- What could fail is tried first: see take.lua.
local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'none' and kind ~= 'stream' then
  return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
end
redis.call('ZREM', KEYS[1], '')
local answers, at = {}, 4
local before, added = redis.call('XLEN', KEYS[2]), 0
for i = 1, (#KEYS - 3) / 2 do
  local lease, lost = KEYS[2 + 2 * i], KEYS[3 + 2 * i]
  local name, letters, from = ARGV[at], ARGV[at + 1], 1
  at = at + 2
  if redis.call('ZSCORE', KEYS[1], name) then
    if letters ~= '' then
      redis.call('UNLINK', KEYS[3])
    end
    while from <= #letters do
      local _, head, message, reason, refused = string.find(letters, '^(%d+) (%d+) (%d+) ', from)
      reason = head + reason
      from = reason + refused + 1
      -- None where a failover has undone that it was taken: it waits, and is refused again.
      local payload = redis.call('LINDEX', lease, -1 - message)
      if payload then
        redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[3], '*', 'payload', payload, 'reason', string.sub(letters, head + 1, reason),
          'refused', string.sub(letters, reason + 1, from - 1), 'agent', ARGV[1], 'time', ARGV[2])
        added = added + 1
      end
    end
    redis.call('UNLINK', lease)
    redis.call('ZREM', KEYS[1], name)
    answers[i] = 1
  else
    answers[i] = redis.call('EXISTS', lost) == 1 and -1 or 0
  end
end
answers[#answers + 1] = before + added - redis.call('XLEN', KEYS[2])
return answers
