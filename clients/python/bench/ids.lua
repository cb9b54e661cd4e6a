-- Gives each request of wrk a number of its own. Numbers of one thread begin where it was told to.
local number = 0

function init(arguments)
  number = tonumber(arguments[1] or "0")
end

function request()
  number = number + 1
  return wrk.format("GET", "/?n=" .. number)
end
