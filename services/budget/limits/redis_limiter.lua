-- Rate limits on one server, in one atomic step. ARGV[1] says what to do:
--   admit     KEYS[1] the ticket; ARGV: now_us, request_id, tokens, requests, is_held, ttl_ms, models, prefix, and for
--             each limit: id, model, step_s, steps, requests, tokens, concurrent (-1 = unlimited), "0,2" of the models
--   finish    KEYS[1] the ticket; ARGV: now_us, request_id, prefix, is_known, and the tokens used: model, tokens, …
--   withdraw  KEYS[1] the ticket; ARGV: now_us, request_id, prefix
-- All keys of a call have one hash tag. now_us 0 = this server's clock. A window is {step, requests, tokens, …}, oldest
-- first; places are a sorted set of request ids by when they end. services/budget/limits/rate_limits.py says why.
local function clock(given)
  local now = tonumber(given)
  if now > 0 then return now end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function window_of(key, oldest)
  local raw, kept, requests, tokens = redis.call('GET', key), {}, 0, 0
  local all = raw and cmsgpack.unpack(raw) or kept
  for i = 1, #all, 3 do
    if all[i] >= oldest then
      local n = #kept
      kept[n + 1], kept[n + 2], kept[n + 3] = all[i], all[i + 1], all[i + 2]
      requests, tokens = requests + all[i + 1], tokens + all[i + 2]
    end
  end
  return kept, requests, tokens
end

local function keep(key, kept, steps, step_s)
  if #kept == 0 then
    redis.call('DEL', key)
  else
    redis.call('SET', key, cmsgpack.pack(kept), 'PX', (steps + 2) * step_s * 1000)
  end
end

local function add(kept, step, requests, tokens)
  local n = #kept
  if n == 0 or kept[n - 2] < step then
    kept[n + 1], kept[n + 2], kept[n + 3] = step, 0, 0
    n = n + 3
  end
  kept[n - 1], kept[n] = kept[n - 1] + requests, kept[n] + tokens
  return kept[n - 2]
end

local function take_back(kept, step, requests, tokens)
  for i = 1, #kept, 3 do
    if kept[i] == step then
      kept[i + 1] = kept[i + 1] - math.min(requests, kept[i + 1])
      kept[i + 2] = kept[i + 2] - math.min(tokens, kept[i + 2])
      return
    end
  end
end

local function matches(pattern, model)
  if pattern == '' or pattern == model then return true end
  return pattern:sub(-1) == '*' and model:sub(1, #pattern - 1) == pattern:sub(1, -2)
end

local function admit()
  local now, request_id = clock(ARGV[2]), ARGV[3]
  local tokens, requests, is_held = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
  local ttl_ms, models, prefix = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
  local known = redis.call('GET', KEYS[1])
  if known then
    local ticket = cmsgpack.unpack(known)
    if ticket[3] > now then return cmsgpack.pack({2, ticket[2], ticket[1], ticket[4], ticket[5]}) end
  end
  local rows, limits, barred, left, refused = {}, {}, {}, models, false
  for at = 10, #ARGV, 8 do
    local limit = {
      id = ARGV[at], model = ARGV[at + 1], step_s = tonumber(ARGV[at + 2]), steps = tonumber(ARGV[at + 3]),
      most = {tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])}, models = ARGV[at + 7],
    }
    limit.step = math.floor(now / 1000000 / limit.step_s)
    limit.kept, limit.requests, limit.tokens = window_of(prefix .. 'w:' .. limit.id, limit.step - limit.steps)
    local function until_step(step) return (step + limit.steps + 1) * limit.step_s * 1000000 - now end
    local function free_us(most, used, more, column)
      if most < 0 or more == 0 or used + more <= most then return 0 end
      local excess = used + more - most
      for i = 1, more <= most and #limit.kept or 0, 3 do
        excess = excess - limit.kept[i + column]
        if excess <= 0 then return until_step(limit.kept[i]) end
      end
      return -1
    end
    local function reset_us(column)
      for i = #limit.kept - 2, 1, -3 do
        if limit.kept[i + column] > 0 then return until_step(limit.kept[i]) end
      end
      return 0
    end
    local held, place = 0, 0
    if limit.most[3] >= 0 then
      limit.places = prefix .. 'p:' .. limit.id
      redis.call('ZREMRANGEBYSCORE', limit.places, '-inf', now)
      held = redis.call('ZCARD', limit.places)
      if limit.most[3] == 0 then place = -1 elseif is_held and held >= limit.most[3] then place = 1 end
    end
    local row = {
      limit.requests, limit.tokens, held, free_us(limit.most[1], limit.requests, requests, 1),
      free_us(limit.most[2], limit.tokens, tokens, 2), place, reset_us(1), reset_us(2),
    }
    limit.is_full = row[4] ~= 0 or row[5] ~= 0 or row[6] ~= 0
    if limit.is_full and limit.models == '' then refused = true end
    for model in string.gmatch(limit.is_full and limit.models or '', '%d+') do
      if not barred[model] then
        barred[model], left = true, left - 1
      end
    end
    rows[#rows + 1], limits[#limits + 1] = row, limit
  end
  if refused or (models > 0 and left == 0) then return cmsgpack.pack({0, now, rows, tokens, requests}) end
  local taken = {}
  for _, limit in ipairs(limits) do
    local counts = limit.models == ''
    for model in string.gmatch(limit.models, '%d+') do counts = counts or not barred[model] end
    if counts and not limit.is_full then
      local step = add(limit.kept, limit.step, requests, tokens)
      keep(prefix .. 'w:' .. limit.id, limit.kept, limit.steps, limit.step_s)
      if limit.places and is_held and ttl_ms > 0 then
        redis.call('ZADD', limit.places, now + ttl_ms * 1000, request_id)
        redis.call('PEXPIRE', limit.places, math.max(redis.call('PTTL', limit.places), ttl_ms))
      end
      taken[#taken + 1] = {limit.id, limit.model, limit.step_s, limit.steps, step}
    end
  end
  if ttl_ms > 0 and #taken > 0 then
    local ticket = {rows, now, now + ttl_ms * 1000, tokens, requests, taken, is_held}
    redis.call('SET', KEYS[1], cmsgpack.pack(ticket), 'PX', ttl_ms)
  end
  return cmsgpack.pack({1, now, rows, tokens, requests})
end

local function finish(is_made)
  local now, request_id, prefix, known = clock(ARGV[2]), ARGV[3], ARGV[4], redis.call('GET', KEYS[1])
  if not known then return 0 end
  local ticket = cmsgpack.unpack(known)
  if is_made and not ticket[7] then return 1 end
  redis.call('DEL', KEYS[1])
  if ticket[3] <= now then return 0 end
  for _, limit in ipairs(ticket[6]) do
    local id, model, step_s, steps, step = limit[1], limit[2], limit[3], limit[4], limit[5]
    redis.call('ZREM', prefix .. 'p:' .. id, request_id)
    if not is_made or ARGV[5] == '1' then
      local this = math.floor(now / 1000000 / step_s)
      local kept = window_of(prefix .. 'w:' .. id, this - steps)
      local used, is_used = 0, is_made and model == ''
      for at = 6, is_made and #ARGV or 0, 2 do
        if matches(model, ARGV[at]) then used, is_used = used + tonumber(ARGV[at + 1]), true end
      end
      if not is_used then
        take_back(kept, step, ticket[5], ticket[4])
      elseif used > ticket[4] then
        add(kept, this, 0, used - ticket[4])
      else
        take_back(kept, step, 0, ticket[4] - used)
      end
      keep(prefix .. 'w:' .. id, kept, steps, step_s)
    end
  end
  return 1
end

if ARGV[1] == 'admit' then return admit() end
return finish(ARGV[1] == 'finish')
