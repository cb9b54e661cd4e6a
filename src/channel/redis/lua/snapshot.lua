-- What an untouched in-progress list looks like: its length, its newest and its oldest message.
--
-- KEYS: the list
-- Answers with a text that changes when a Python agent takes or finishes a message; nil when there is none.
local count = redis.call('LLEN', KEYS[1])
if count == 0 then
  return false
end
return count .. ' ' .. redis.sha1hex(redis.call('LINDEX', KEYS[1], 0)) .. ' ' .. redis.sha1hex(redis.call('LINDEX', KEYS[1], -1))
