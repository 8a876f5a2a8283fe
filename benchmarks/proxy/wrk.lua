-- Prints wrk's own count as one line of JSON, which is all that the harness reads.
function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    'SUMMARY {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, '
      .. '"max_us": %d, "socket_errors": %d, "status_errors": %d}',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
