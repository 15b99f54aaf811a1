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

-- The usual batch in one round trip, what ends before what begins: it only makes room. As in 0002 it does what the
-- general path does, under the same row locks in the same order, but only where nothing has to be decided.
--
-- NULL: nothing was done. Empty: everything was settled and nothing is held, or there was nothing to hold. Else, by
-- path, the counters that its reservations hold, a line each, "<budget_id>@<window start>@<selector>", behind a "!"
-- when a hard limit is among them. Reservations of one path come with the number of that path (r_path), so that its
-- budgets are looked up once; p_amount sums what they hold. `w_start` has six starts for each zone of `w_zone`, by
-- window kind. c_: what is spent and freed, by counter. The ledger's lines (e_) are each of one of the resolved (e_of)
-- and share what they are about (e_about).
CREATE FUNCTION run_simply(
  orgs text,
  v_org uuid[], v_id uuid[], v_request uuid[], v_amount bigint[], v_state smallint[], v_cost bigint[], v_record bytea[],
  c_org uuid[], c_budget uuid[], c_start timestamptz[], c_spent bigint[], c_freed bigint[],
  e_of integer[], e_attempt text[], e_amount bigint[], e_tokens text[], e_about integer[],
  a_kind text[], a_version bigint[], a_counters text[], a_provider text[], a_model text[], a_operation text[],
  a_path text[], a_tags text[],
  r_org uuid[], r_id uuid[], r_request uuid[], r_amount bigint[], r_expires timestamptz[], r_version bigint[],
  r_cap bigint[], r_covered bigint[], r_hash bytea[], r_draft bytea[], r_path integer[],
  w_zone text[], w_start timestamptz[],
  p_org uuid[], p_amount bigint[], l_path integer[], l_kind smallint[], l_id uuid[], s_path integer[], s_selector text[]
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  n_path integer[]; n_budget uuid[]; n_start timestamptz[]; n_most bigint[]; n_selector text[]; n_hard boolean[];
  p_hard boolean[]; p_counters text[]; p_selectors text[]; told text[] := '{}';
  rows bigint; one record;
BEGIN
  PERFORM set_config('app.org_ids', orgs, true);
  -- Which counters each path hangs on.
  IF cardinality(p_org) > 0 THEN
    SELECT array_agg(l.path ORDER BY l.at), array_agg(b.budget_id ORDER BY l.at), array_agg(
        w_start[(CASE WHEN b.zone = 'UTC' THEN 0 ELSE array_position(w_zone, b.zone) - 1 END) * 6 + b.window_kind]
        ORDER BY l.at),
      array_agg(b.limit_nano_usd ORDER BY l.at), array_agg(b.selector ORDER BY l.at),
      array_agg(b.is_hard AND b.limit_nano_usd IS NOT NULL ORDER BY l.at)
    INTO n_path, n_budget, n_start, n_most, n_selector, n_hard
    FROM unnest(l_path, l_kind, l_id) WITH ORDINALITY AS l (path, kind, id, at) CROSS JOIN LATERAL (
      SELECT budget_id, window_kind, zone, limit_nano_usd, selector, is_hard FROM budgets
      WHERE level_id = l.id AND level_kind = l.kind AND org_id = p_org[l.path] OFFSET 0) b
    WHERE b.selector IN ('', 'stop') OR EXISTS (
      SELECT FROM unnest(s_path, s_selector) AS s (path, selector) WHERE s.path = l.path AND s.selector = b.selector);
  END IF;
  -- A threshold that may be crossed is the general path's to find. Asked once more below, when nobody can change it.
  IF EXISTS (SELECT FROM unnest(c_org, c_budget, c_start, c_spent) AS u (org_id, budget, start, spent)
      CROSS JOIN LATERAL (SELECT committed, next_alert FROM counters
        WHERE budget_id = u.budget AND window_start = u.start AND org_id = u.org_id OFFSET 0) c
      WHERE u.spent > 0 AND c.committed + u.spent >= c.next_alert) THEN
    RETURN NULL;
  END IF;
  -- Row by row: it leaves the planner no join to choose, and plans are kept.
  FOR i IN 1 .. cardinality(v_id) LOOP
    UPDATE reservations SET state = v_state[i], cost = v_cost[i]
    WHERE reservation_id = v_id[i] AND org_id = v_org[i] AND state = 0 AND amount = v_amount[i]
      AND request_id = v_request[i];
    IF NOT FOUND THEN
      RAISE EXCEPTION 'a reservation is not as it was' USING ERRCODE = 'serialization_failure';
    END IF;
  END LOOP;
  PERFORM 1 FROM (
      SELECT DISTINCT a.org_id, a.budget, a.start FROM (
        SELECT p_org[n.path] AS org_id, n.budget, n.start FROM unnest(n_path, n_budget, n_start) AS n (path, budget, start)
        UNION ALL
        SELECT u.org_id, u.budget, u.start FROM unnest(c_org, c_budget, c_start) AS u (org_id, budget, start)) AS a
      ORDER BY 1, 2, 3) AS u
    CROSS JOIN LATERAL (SELECT 1 FROM counters WHERE budget_id = u.budget AND window_start = u.start
      AND org_id = u.org_id FOR NO KEY UPDATE) c;
  -- New statements see what those who held the locks have written.
  IF EXISTS (SELECT FROM unnest(c_org, c_budget, c_start, c_spent) AS u (org_id, budget, start, spent)
      CROSS JOIN LATERAL (SELECT committed, next_alert FROM counters
        WHERE budget_id = u.budget AND window_start = u.start AND org_id = u.org_id OFFSET 0) c
      WHERE u.spent > 0 AND c.committed + u.spent >= c.next_alert) THEN
    RAISE EXCEPTION 'a threshold is near' USING ERRCODE = 'serialization_failure';
  END IF;
  -- What does not fit whole is the general path's to decide, as is a window in a zone that the caller does not know.
  IF cardinality(p_org) > 0 THEN
    IF array_position(n_start, NULL) IS NOT NULL OR EXISTS (SELECT FROM (
        SELECT p_org[n.path] AS org_id, n.budget, n.start, min(n.most) AS most, sum(p_amount[n.path])::bigint AS amount
        FROM unnest(n_path, n_budget, n_start, n_most) AS n (path, budget, start, most) GROUP BY 1, 2, 3) AS u
      LEFT JOIN LATERAL (SELECT committed + reserved AS used FROM counters
        WHERE budget_id = u.budget AND window_start = u.start AND org_id = u.org_id OFFSET 0) c ON true
      LEFT JOIN LATERAL (SELECT sum(f.spent - f.freed)::bigint AS more
        FROM unnest(c_org, c_budget, c_start, c_spent, c_freed) AS f (org_id, budget, start, spent, freed)
        WHERE f.budget = u.budget AND f.start = u.start AND f.org_id = u.org_id) s ON true
      WHERE c.used IS NULL OR u.most = 0 OR c.used + coalesce(s.more, 0) + u.amount > u.most) THEN
      n_path := NULL; n_budget := NULL; n_start := NULL;
    ELSE
      told := array_fill(''::text, ARRAY[cardinality(p_org)]);
    END IF;
  END IF;
  -- A budget that was deleted meanwhile has no counter any more.
  FOR one IN SELECT a.org_id, a.budget, a.start, sum(a.spent)::bigint AS spent, sum(a.held)::bigint AS held FROM (
      SELECT p_org[n.path] AS org_id, n.budget, n.start, 0::bigint AS spent, p_amount[n.path] AS held
      FROM unnest(n_path, n_budget, n_start) AS n (path, budget, start)
      UNION ALL
      SELECT u.org_id, u.budget, u.start, u.spent, -u.freed
      FROM unnest(c_org, c_budget, c_start, c_spent, c_freed) AS u (org_id, budget, start, spent, freed)) AS a
      GROUP BY 1, 2, 3 LOOP
    UPDATE counters SET committed = committed + one.spent, reserved = reserved + one.held
    WHERE budget_id = one.budget AND window_start = one.start AND org_id = one.org_id;
  END LOOP;
  IF cardinality(v_id) > 0 THEN
    INSERT INTO ledger (org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters, provider,
                        model, operation, path, tags, tokens)
    SELECT v_org[e.of], v_id[e.of], e.attempt_id, a_kind[e.about], e.amount, a_version[e.about], v_request[e.of],
           a_counters[e.about]::text[], a_provider[e.about], a_model[e.about], a_operation[e.about],
           a_path[e.about]::text[], a_tags[e.about]::text[], e.tokens::bigint[]
    FROM unnest(e_of, e_attempt, e_amount, e_tokens, e_about) AS e (of, attempt_id, amount, tokens, about);
    INSERT INTO record_outbox (org_id, request_id, record)
    SELECT * FROM unnest(v_org, v_request, v_record) ON CONFLICT (org_id, request_id) DO NOTHING;
  END IF;
  IF cardinality(told) > 0 THEN
    p_hard := array_fill(false, ARRAY[cardinality(p_org)]);
    p_counters := array_fill('{}'::text, ARRAY[cardinality(p_org)]);
    p_selectors := p_counters;
    FOR one IN SELECT n.path, bool_or(n.hard) AS hard, array_agg(n.key ORDER BY n.at)::text AS keys,
          CASE WHEN bool_or(n.model <> '') THEN array_agg(n.model ORDER BY n.at)::text ELSE '{}' END AS models,
          string_agg(n.key || '@' || n.model, E'\n' ORDER BY n.at) AS lines
        FROM (SELECT m.path, m.hard, m.at, m.budget || '@' || extract(epoch FROM m.start)::bigint AS key,
                CASE WHEN m.selector LIKE 'model:%' THEN m.selector ELSE '' END AS model
              FROM unnest(n_path, n_budget, n_start, n_selector, n_hard) WITH ORDINALITY
                AS m (path, budget, start, selector, hard, at)) AS n GROUP BY n.path LOOP
      p_hard[one.path] := one.hard; p_counters[one.path] := one.keys; p_selectors[one.path] := one.models;
      told[one.path] := CASE WHEN one.hard THEN '!' ELSE '' END || one.lines;
    END LOOP;
    INSERT INTO reservations (org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap,
                              covered_output, body_hash, draft, counters, selectors)
    SELECT u.org_id, u.id, u.request_id, u.amount, u.expires_at, u.version, CASE WHEN p_hard[u.path] THEN u.cap ELSE 0 END,
           CASE WHEN p_hard[u.path] THEN u.covered ELSE 0 END, u.hash, u.draft, p_counters[u.path]::text[],
           p_selectors[u.path]::text[]
    FROM unnest(r_org, r_id, r_request, r_amount, r_expires, r_version, r_cap, r_covered, r_hash, r_draft, r_path)
      AS u (org_id, id, request_id, amount, expires_at, version, cap, covered, hash, draft, path)
    ON CONFLICT (org_id, request_id) DO NOTHING;
    GET DIAGNOSTICS rows = ROW_COUNT;
    IF rows <> cardinality(r_id) THEN
      RAISE EXCEPTION 'a request id is taken' USING ERRCODE = 'serialization_failure';
    END IF;
  END IF;
  RETURN told;
END $$;

REVOKE ALL ON FUNCTION reserve_simply(text, uuid[], uuid[], uuid[], bigint[], timestamptz[], bigint[], bigint[], bytea[],
  bytea[], timestamptz[], timestamptz[], integer[], smallint[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION run_simply(text, uuid[], uuid[], uuid[], bigint[], smallint[], bigint[], bytea[], uuid[], uuid[],
  timestamptz[], bigint[], bigint[], integer[], text[], bigint[], text[], integer[], text[], bigint[], text[], text[],
  text[], text[], text[], text[], uuid[], uuid[], uuid[], bigint[], timestamptz[], bigint[], bigint[], bigint[], bytea[],
  bytea[], integer[], text[], timestamptz[], uuid[], bigint[], integer[], smallint[], uuid[], integer[], text[])
  FROM PUBLIC;
