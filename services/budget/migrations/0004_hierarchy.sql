-- Budgets on every level and narrowed to a model or a tag, soft ones, more windows in any zone, warnings, rate limits,
-- corrections, and what the ledger's lines were for.
--
-- Beside the older program: it decides what it cannot know (a soft or narrowed budget, another zone) the general way,
-- as a plain hard limit or not at all. It cannot set budgets any more, because its statement names a key that is gone.

ALTER TABLE budgets
  DROP CONSTRAINT budgets_level_kind_check,
  DROP CONSTRAINT budgets_window_kind_check,
  DROP CONSTRAINT budgets_level_id_level_kind_window_kind_org_id_key,
  ALTER COLUMN limit_nano_usd DROP NOT NULL, -- NULL = unlimited.
  -- '' = everything, 'model:<id or prefix/*>', 'tag:<key>=<value>', 'stop' = the emergency stop.
  ADD COLUMN selector text NOT NULL DEFAULT '',
  ADD COLUMN zone text NOT NULL DEFAULT 'UTC',
  ADD COLUMN is_hard boolean NOT NULL DEFAULT true,
  ADD COLUMN thresholds smallint[] NOT NULL DEFAULT '{50,80,95,100}',
  ADD COLUMN alert_emails text[] NOT NULL DEFAULT '{}',
  ADD COLUMN note text NOT NULL DEFAULT '',
  ADD CONSTRAINT budgets_level_kind_known CHECK (level_kind BETWEEN 1 AND 5),
  ADD CONSTRAINT budgets_window_kind_known CHECK (window_kind BETWEEN 1 AND 6),
  ADD CONSTRAINT budgets_place UNIQUE (level_id, level_kind, window_kind, selector, org_id);

-- Once `committed` reaches next_alert a threshold may be crossed: 0 = to be found out, NULL = none is left.
ALTER TABLE counters ADD COLUMN next_alert bigint DEFAULT 0;

ALTER TABLE reservations
  -- How far the answer is covered, where it may be extended.
  ADD COLUMN covered_output bigint NOT NULL DEFAULT 0,
  -- Beside each of `counters`: '' or the models whose attempts it is charged with.
  ADD COLUMN selectors text[] NOT NULL DEFAULT '{}';

ALTER TABLE ledger
  DROP CONSTRAINT ledger_kind_check,
  DROP CONSTRAINT ledger_amount_check,
  ADD CONSTRAINT ledger_kind_known CHECK (kind IN ('commit', 'overrun', 'release', 'indeterminate', 'adjust')) NOT VALID,
  ADD CONSTRAINT ledger_amount_sign CHECK (amount >= 0 OR kind = 'adjust') NOT VALID,
  ADD COLUMN provider text NOT NULL DEFAULT '',
  ADD COLUMN model text NOT NULL DEFAULT '',
  ADD COLUMN operation text NOT NULL DEFAULT '',
  -- "team:<id>", …, organisation first.
  ADD COLUMN path text[] NOT NULL DEFAULT '{}',
  ADD COLUMN tags text[] NOT NULL DEFAULT '{}',
  -- input, input_cached, cache_write, output, reasoning.
  ADD COLUMN tokens bigint[] NOT NULL DEFAULT '{}';
CREATE INDEX ledger_at ON ledger USING brin (at);

-- A threshold that was crossed, once in a window; told_at is set when it was delivered.
CREATE TABLE alerts (
  org_id uuid NOT NULL,
  budget_id uuid NOT NULL,
  window_start timestamptz NOT NULL,
  threshold_percent smallint NOT NULL,
  spent_nano_usd bigint NOT NULL,
  limit_nano_usd bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  told_at timestamptz,
  tries integer NOT NULL DEFAULT 0,
  next_try_at timestamptz NOT NULL DEFAULT now(),
  -- No foreign key: its check would wait for a budget that is being deleted, which waits for the counter we hold.
  PRIMARY KEY (budget_id, window_start, threshold_percent, org_id)
);
CREATE INDEX alerts_untold ON alerts (next_try_at) WHERE told_at IS NULL;
ALTER TABLE alerts ENABLE ROW LEVEL SECURITY; ALTER TABLE alerts FORCE ROW LEVEL SECURITY;
CREATE POLICY alerts_org ON alerts USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY alerts_owner ON alerts TO dac_owner USING (true) WITH CHECK (true);

CREATE TABLE rate_limits (
  org_id uuid NOT NULL,
  rate_limit_id uuid NOT NULL,
  level_kind smallint NOT NULL CHECK (level_kind BETWEEN 1 AND 5),
  level_id uuid NOT NULL,
  -- '' = all models, else an id or "prefix/*".
  model text NOT NULL DEFAULT '',
  requests_per_minute bigint CHECK (requests_per_minute >= 0),
  tokens_per_minute bigint CHECK (tokens_per_minute >= 0),
  concurrent_requests bigint CHECK (concurrent_requests >= 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (rate_limit_id, org_id),
  UNIQUE (level_id, level_kind, model, org_id)
);
ALTER TABLE rate_limits ENABLE ROW LEVEL SECURITY; ALTER TABLE rate_limits FORCE ROW LEVEL SECURITY;
CREATE POLICY rate_limits_org ON rate_limits USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY rate_limits_owner ON rate_limits TO dac_owner USING (true) WITH CHECK (true);

-- Grows with every change of a rate limit: replicas follow it and read all of them anew.
CREATE TABLE rate_limit_epoch (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  epoch bigint NOT NULL
);
INSERT INTO rate_limit_epoch (epoch) VALUES (1);
CREATE FUNCTION bump_rate_limit_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE rate_limit_epoch SET epoch = epoch + 1;
  RETURN NULL;
END $$;
CREATE TRIGGER rate_limits_epoch AFTER INSERT OR UPDATE OR DELETE ON rate_limits
  FOR EACH STATEMENT EXECUTE FUNCTION bump_rate_limit_epoch();
CREATE FUNCTION read_rate_limits() RETURNS SETOF rate_limits
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$ SELECT * FROM rate_limits $$;
REVOKE ALL ON FUNCTION read_rate_limits() FROM PUBLIC;

CREATE OR REPLACE FUNCTION organisations_with_work() RETURNS TABLE (org_id uuid, work text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT DISTINCT r.org_id, 'expired' FROM reservations r WHERE r.state = 0 AND r.expires_at <= now()
  UNION ALL
  SELECT DISTINCT a.org_id, 'admin' FROM admin_outbox a
  UNION ALL
  SELECT DISTINCT l.org_id, 'alert' FROM alerts l WHERE l.told_at IS NULL AND l.next_try_at <= now()
$$;

-- What the older program calls: it decides only where nothing here is new to it.
ALTER FUNCTION reserve_simply(text, uuid[], uuid[], uuid[], bigint[], timestamptz[], bigint[], bigint[], bytea[],
  bytea[], timestamptz[], timestamptz[], integer[], smallint[], uuid[]) RENAME TO reserve_simply_then;
CREATE FUNCTION reserve_simply(
  orgs text,
  r_org uuid[], r_id uuid[], r_request uuid[], r_amount bigint[], r_expires timestamptz[], r_version bigint[],
  r_cap bigint[], r_hash bytea[], r_draft bytea[], r_day timestamptz[], r_month timestamptz[],
  l_op integer[], l_kind smallint[], l_id uuid[]
) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.org_ids', orgs, true);
  IF EXISTS (SELECT FROM budgets b WHERE b.level_id = ANY (l_id)
      AND (b.selector <> '' OR b.window_kind > 3 OR b.zone <> 'UTC' OR NOT b.is_hard OR b.limit_nano_usd IS NULL)) THEN
    RETURN NULL;
  END IF;
  RETURN reserve_simply_then(orgs, r_org, r_id, r_request, r_amount, r_expires, r_version, r_cap, r_hash, r_draft,
    r_day, r_month, l_op, l_kind, l_id);
END $$;

-- The usual batches in one round trip each, as in 0002. NULL: not simple. Else, by reservation, the counters it holds,
-- each "<budget_id>@<window start>@<selector>", behind a "!" when a hard limit is among them. `w_start` has six starts for each zone of `w_zone`, by window kind.
CREATE FUNCTION hold_simply(
  orgs text,
  r_org uuid[], r_id uuid[], r_request uuid[], r_amount bigint[], r_expires timestamptz[], r_version bigint[],
  r_cap bigint[], r_covered bigint[], r_hash bytea[], r_draft bytea[],
  w_zone text[], w_start timestamptz[],
  l_op integer[], l_kind smallint[], l_id uuid[],
  s_op integer[], s_selector text[]
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  n_op integer[]; n_budget uuid[]; n_start timestamptz[]; n_most bigint[]; n_selector text[]; n_hard boolean[];
  held text[]; made bigint; one record;
BEGIN
  PERFORM set_config('app.org_ids', orgs, true);
  -- Which counters each reservation hangs on.
  SELECT array_agg(l.op ORDER BY l.at), array_agg(b.budget_id ORDER BY l.at), array_agg(
      w_start[(CASE WHEN b.zone = 'UTC' THEN 0 ELSE array_position(w_zone, b.zone) - 1 END) * 6 + b.window_kind]
      ORDER BY l.at),
    array_agg(b.limit_nano_usd ORDER BY l.at), array_agg(b.selector ORDER BY l.at),
    array_agg(b.is_hard AND b.limit_nano_usd IS NOT NULL ORDER BY l.at)
  INTO n_op, n_budget, n_start, n_most, n_selector, n_hard
  FROM unnest(l_op, l_kind, l_id) WITH ORDINALITY AS l (op, kind, id, at) CROSS JOIN LATERAL (
    SELECT budget_id, window_kind, zone, limit_nano_usd, selector, is_hard FROM budgets
    WHERE level_id = l.id AND level_kind = l.kind AND org_id = r_org[l.op] OFFSET 0) b
  WHERE b.selector IN ('', 'stop') OR EXISTS (
    SELECT FROM unnest(s_op, s_selector) AS s (op, selector) WHERE s.op = l.op AND s.selector = b.selector);
  IF n_op IS NOT NULL THEN
    IF array_position(n_start, NULL) IS NOT NULL THEN
      RETURN NULL; -- A zone that the caller does not know yet.
    END IF;
    PERFORM 1 FROM (SELECT DISTINCT r_org[n.op] AS org_id, n.budget, n.start
        FROM unnest(n_op, n_budget, n_start) AS n (op, budget, start) ORDER BY 1, 2, 3) AS u
      CROSS JOIN LATERAL (SELECT 1 FROM counters WHERE budget_id = u.budget AND window_start = u.start
        AND org_id = u.org_id FOR NO KEY UPDATE) c;
    -- A new statement sees what those who held the locks have written.
    IF EXISTS (SELECT FROM (
        SELECT r_org[n.op] AS org_id, n.budget, n.start, min(n.most) AS most, sum(r_amount[n.op])::bigint AS amount
        FROM unnest(n_op, n_budget, n_start, n_most) AS n (op, budget, start, most) GROUP BY 1, 2, 3) AS u
      LEFT JOIN LATERAL (SELECT committed + reserved AS used FROM counters
        WHERE budget_id = u.budget AND window_start = u.start AND org_id = u.org_id OFFSET 0) c ON true
      WHERE c.used IS NULL OR u.most = 0 OR c.used + u.amount > u.most) THEN
      RETURN NULL;
    END IF;
    FOR one IN SELECT r_org[n.op] AS org_id, n.budget, n.start, sum(r_amount[n.op])::bigint AS amount
        FROM unnest(n_op, n_budget, n_start) AS n (op, budget, start) GROUP BY 1, 2, 3 LOOP
      UPDATE counters SET reserved = reserved + one.amount
      WHERE budget_id = one.budget AND window_start = one.start AND org_id = one.org_id;
    END LOOP;
  END IF;
  SELECT array_agg(coalesce(k.keys, '') ORDER BY i.op) INTO held
  FROM generate_subscripts(r_id, 1) AS i (op) LEFT JOIN LATERAL (
    SELECT CASE WHEN bool_or(n.hard) THEN '!' ELSE '' END || string_agg(n.budget || '@'
      || extract(epoch FROM n.start)::bigint || '@' || CASE WHEN n.selector LIKE 'model:%' THEN n.selector ELSE '' END,
      ',' ORDER BY n.at) AS keys
    FROM unnest(n_op, n_budget, n_start, n_selector, n_hard) WITH ORDINALITY AS n (op, budget, start, selector, hard, at)
    WHERE n.op = i.op) k ON true;
  INSERT INTO reservations (org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap,
                            covered_output, body_hash, draft, counters, selectors)
  SELECT r_org[i], r_id[i], r_request[i], r_amount[i], r_expires[i], r_version[i],
         CASE WHEN held[i] LIKE '!%' THEN r_cap[i] ELSE 0 END,
         CASE WHEN held[i] LIKE '!%' THEN r_covered[i] ELSE 0 END, r_hash[i], r_draft[i], k.keys, k.selectors
  FROM generate_subscripts(r_id, 1) AS i CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(split_part(t, '@', 1) || '@' || split_part(t, '@', 2)), '{}') AS keys,
           coalesce(array_agg(substring(t FROM '^[^@]*@[^@]*@(.*)$')), '{}') AS selectors
    FROM unnest(string_to_array(ltrim(held[i], '!'), ',')) AS t) k
  ON CONFLICT (org_id, request_id) DO NOTHING;
  GET DIAGNOSTICS made = ROW_COUNT;
  IF made <> cardinality(r_id) THEN
    RAISE EXCEPTION 'a request id is taken' USING ERRCODE = 'serialization_failure';
  END IF;
  RETURN held;
END $$;

-- false: not simple. The counters come with what is freed and what is spent, in the global order.
CREATE FUNCTION settle_simply(
  orgs text,
  v_org uuid[], v_id uuid[], v_request uuid[], v_amount bigint[], v_state smallint[], v_cost bigint[],
  c_org uuid[], c_budget uuid[], c_start timestamptz[], c_spent bigint[], c_freed bigint[],
  e_org uuid[], e_id uuid[], e_attempt text[], e_kind text[], e_amount bigint[], e_version bigint[], e_request uuid[],
  e_counters text[], e_provider text[], e_model text[], e_operation text[], e_path text[], e_tags text[],
  e_tokens text[],
  t_org uuid[], t_request uuid[], t_record bytea[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  open bigint;
BEGIN
  PERFORM set_config('app.org_ids', orgs, true);
  SELECT count(*) INTO open FROM (
    SELECT 1 FROM unnest(v_org, v_id, v_request, v_amount) AS u (org_id, id, request_id, amount) CROSS JOIN LATERAL (
      SELECT state, amount, request_id FROM reservations WHERE reservation_id = u.id AND org_id = u.org_id
      FOR NO KEY UPDATE) r
    WHERE r.state = 0 AND r.amount = u.amount AND r.request_id = u.request_id) AS found;
  IF open <> cardinality(v_id) THEN
    RETURN false;
  END IF;
  IF cardinality(c_budget) > 0 THEN
    PERFORM 1 FROM unnest(c_org, c_budget, c_start) AS u (org_id, budget, start) CROSS JOIN LATERAL (
      SELECT 1 FROM counters WHERE budget_id = u.budget AND window_start = u.start AND org_id = u.org_id
      FOR NO KEY UPDATE) c;
    -- A threshold that may be crossed is the general path's to find.
    IF EXISTS (SELECT FROM unnest(c_org, c_budget, c_start, c_spent) AS u (org_id, budget, start, spent)
        CROSS JOIN LATERAL (SELECT committed, next_alert FROM counters
          WHERE budget_id = u.budget AND window_start = u.start AND org_id = u.org_id OFFSET 0) c
        WHERE u.spent > 0 AND c.committed + u.spent >= c.next_alert) THEN
      RETURN false;
    END IF;
    -- A budget that was deleted meanwhile has no counter any more.
    FOR i IN 1 .. cardinality(c_budget) LOOP
      UPDATE counters SET committed = committed + c_spent[i], reserved = reserved - c_freed[i]
      WHERE budget_id = c_budget[i] AND window_start = c_start[i] AND org_id = c_org[i];
    END LOOP;
  END IF;
  -- Row by row: it leaves the planner no join to choose, and plans are kept.
  FOR i IN 1 .. cardinality(v_id) LOOP
    UPDATE reservations SET state = v_state[i], cost = v_cost[i] WHERE reservation_id = v_id[i] AND org_id = v_org[i];
  END LOOP;
  INSERT INTO ledger (org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters, provider,
                      model, operation, path, tags, tokens)
  SELECT org_id, id, attempt_id, kind, amount, price_version, request_id, counters::text[], provider, model, operation,
         path::text[], tags::text[], tokens::bigint[]
  FROM unnest(e_org, e_id, e_attempt, e_kind, e_amount, e_version, e_request, e_counters, e_provider, e_model,
              e_operation, e_path, e_tags, e_tokens)
    AS u (org_id, id, attempt_id, kind, amount, price_version, request_id, counters, provider, model, operation, path,
          tags, tokens);
  INSERT INTO record_outbox (org_id, request_id, record)
  SELECT * FROM unnest(t_org, t_request, t_record) ON CONFLICT (org_id, request_id) DO NOTHING;
  RETURN true;
END $$;

REVOKE ALL ON FUNCTION reserve_simply(text, uuid[], uuid[], uuid[], bigint[], timestamptz[], bigint[], bigint[], bytea[],
  bytea[], timestamptz[], timestamptz[], integer[], smallint[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION hold_simply(text, uuid[], uuid[], uuid[], bigint[], timestamptz[], bigint[], bigint[], bigint[],
  bytea[], bytea[], text[], timestamptz[], integer[], smallint[], uuid[], integer[], text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION settle_simply(text, uuid[], uuid[], uuid[], bigint[], smallint[], bigint[], uuid[], uuid[],
  timestamptz[], bigint[], bigint[], uuid[], uuid[], text[], text[], bigint[], bigint[], uuid[], text[], text[], text[],
  text[], text[], text[], text[], uuid[], uuid[], bytea[]) FROM PUBLIC;
