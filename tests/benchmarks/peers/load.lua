-- Posts the bodies of a file, one after the other; prints what the table needs. Who is told to come
-- back later does so, as any decent client.
local bodies, at, wait = {}, 0, 0

function init(arguments)
  for line in io.lines(arguments[1]) do bodies[#bodies + 1] = line end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  if arguments[2] then wrk.headers["Authorization"] = "Bearer " .. arguments[2] end
end

function request()
  at = at % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end

function response(status, headers)
  local later = headers["retry-after"] or headers["Retry-After"]
  if later then wait = tonumber(later) * 1000 end
end

function delay()
  local milliseconds = wait
  wait = 0
  return milliseconds
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "RESULT {\"requests\": %d, \"seconds\": %f, \"p50\": %f, \"p95\": %f, \"p99\": %f, \"refused\": %d, \"broken\": %d}\n",
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
