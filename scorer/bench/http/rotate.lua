-- For wrk: POSTs the bodies of a file in turn, and prints one line of JSON at the end. Arguments: file, content type.
-- The file holds each body's size in decimal, a line feed, its bytes.

local requests = {}
local place = 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local headers = { ["content-type"] = arguments[2] }
  local size = file:read("*n")
  while size do
    file:read(1)
    requests[#requests + 1] = wrk.format("POST", nil, headers, file:read(size))
    size = file:read("*n")
  end
  file:close()
end

function request()
  place = place % #requests + 1
  return requests[place]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration":%d,"p50":%d,"p99":%d,"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
