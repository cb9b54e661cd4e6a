-- Runs every command of the other scripts once, on keys of its own, and changes nothing: a user who lacks a
-- permission is told at the start, and told which.
--
-- KEYS: the sorted set of leases, a scratch list, another scratch list, a scratch stream, the queue, the adopted messages
-- ARGV: "export" for the commands that moving the queue elsewhere takes, too
local denied
local function try(command, ...)
  local answer = redis.pcall(command, ...)
  if type(answer) == 'table' and answer.err and not denied then
    denied = redis.error_reply(answer.err .. ': ' .. command)
  end
end
-- Without this nothing may be made, since it would stay.
try('UNLINK', KEYS[2], KEYS[3], KEYS[4])
if denied then
  return denied
end
try('TIME')
try('ZREM', KEYS[1], '')
try('ZSCORE', KEYS[1], '')
try('ZRANGEBYSCORE', KEYS[1], 0, 0)
for i = 5, #KEYS do
  try('LTRIM', KEYS[i], 0, -1)
  try('LRANGE', KEYS[i], 0, 0)
end
try('LPUSH', KEYS[2], '')
try('RPUSH', KEYS[2], '')
try('LLEN', KEYS[2])
try('LINDEX', KEYS[2], 0)
try('RENAME', KEYS[2], KEYS[2])
try('EXISTS', KEYS[3])
try('TYPE', KEYS[3])
try('SET', KEYS[3], '', 'XX')
try('XADD', KEYS[4], 'MAXLEN', '=', 1, '*', 'a', '')
try('XLEN', KEYS[4])
try('XRANGE', KEYS[4], '-', '+', 'COUNT', 1)
try('XDEL', KEYS[4], '0-1')
try('ZADD', KEYS[3], 'XX', 0, '')
try('UNLINK', KEYS[2], KEYS[4])
if ARGV[1] == 'export' then
  try('SADD', KEYS[2], '')
  try('SREM', KEYS[2], '')
  try('SISMEMBER', KEYS[2], '')
  try('SMEMBERS', KEYS[2])
  try('DEL', KEYS[2])
end
try('UNLINK', KEYS[2])
return denied or 1
