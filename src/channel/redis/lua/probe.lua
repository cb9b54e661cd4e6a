-- Runs every command of the other scripts once, on keys of its own, and changes nothing: a user who lacks a
-- permission is told at the start, and no script stops half-way for want of it.
--
-- KEYS: the sorted set of leases, a scratch list, another scratch list, a scratch stream, the queue, the adopted, in progress
redis.call('TIME')
redis.call('ZREM', KEYS[1], '')
redis.call('ZSCORE', KEYS[1], '')
redis.call('ZRANGEBYSCORE', KEYS[1], 0, 0)
for i = 5, #KEYS do
  redis.call('LTRIM', KEYS[i], 0, -1)
  redis.call('LRANGE', KEYS[i], 0, 0)
end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
redis.call('LPUSH', KEYS[2], '')
redis.call('RPUSH', KEYS[2], '')
redis.call('LLEN', KEYS[2])
redis.call('LINDEX', KEYS[2], 0)
redis.call('RENAME', KEYS[2], KEYS[3])
redis.call('EXISTS', KEYS[3])
redis.call('TYPE', KEYS[3])
redis.call('SET', KEYS[2], '', 'PX', 1000)
redis.call('XADD', KEYS[4], '*', 'a', '')
redis.call('UNLINK', KEYS[2], KEYS[3])
redis.call('ZADD', KEYS[3], 0, '')
redis.call('UNLINK', KEYS[3], KEYS[4])
return 1
