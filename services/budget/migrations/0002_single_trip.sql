-- The usual batches in one round trip each. Both functions do exactly what the general path does, under the same row
-- locks in the same order, but only where nothing has to be decided: every reservation fits whole, every reservation to
-- resolve is as the caller knows it. Otherwise they change nothing and say so, and the general path decides.

-- NULL: not simple. Else, by reservation, the counters it holds.
CREATE FUNCTION reserve_simply(
  orgs text,
  r_org uuid[], r_id uuid[], r_request uuid[], r_amount bigint[], r_expires timestamptz[], r_version bigint[],
  r_cap bigint[], r_hash bytea[], r_draft bytea[], r_day timestamptz[], r_month timestamptz[],
  l_op integer[], l_kind smallint[], l_id uuid[]
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  n_op integer[]; n_budget uuid[]; n_start timestamptz[]; n_limit bigint[]; held text[]; made bigint;
  one record;
BEGIN
  PERFORM set_config('app.org_ids', orgs, true);
  -- Which counters each reservation hangs on.
  SELECT array_agg(l.op ORDER BY l.at), array_agg(b.budget_id ORDER BY l.at), array_agg(CASE b.window_kind
      WHEN 1 THEN 'epoch'::timestamptz WHEN 2 THEN r_day[l.op] ELSE r_month[l.op] END ORDER BY l.at),
    array_agg(b.limit_nano_usd ORDER BY l.at)
  INTO n_op, n_budget, n_start, n_limit
  FROM unnest(l_op, l_kind, l_id) WITH ORDINALITY AS l (op, kind, id, at) CROSS JOIN LATERAL (
    SELECT budget_id, window_kind, limit_nano_usd FROM budgets
    WHERE level_id = l.id AND level_kind = l.kind AND org_id = r_org[l.op] OFFSET 0) b;
  IF n_op IS NOT NULL THEN
    PERFORM 1 FROM (SELECT DISTINCT r_org[n.op] AS org_id, n.budget, n.start
        FROM unnest(n_op, n_budget, n_start) AS n (op, budget, start) ORDER BY 1, 2, 3) AS u
      CROSS JOIN LATERAL (SELECT 1 FROM counters WHERE budget_id = u.budget AND window_start = u.start
        AND org_id = u.org_id FOR NO KEY UPDATE) c;
    -- A new statement sees what those who held the locks have written.
    IF EXISTS (SELECT FROM (
        SELECT r_org[n.op] AS org_id, n.budget, n.start, min(n.most) AS most, sum(r_amount[n.op])::bigint AS amount
        FROM unnest(n_op, n_budget, n_start, n_limit) AS n (op, budget, start, most) GROUP BY 1, 2, 3) AS u
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
  SELECT array_agg(coalesce(k.keys, '{}') ORDER BY i.op) INTO held
  FROM generate_subscripts(r_id, 1) AS i (op) LEFT JOIN LATERAL (
    SELECT '{' || string_agg(n.budget || '@' || extract(epoch FROM n.start)::bigint, ','
      ORDER BY n.at) || '}' AS keys
    FROM unnest(n_op, n_budget, n_start) WITH ORDINALITY AS n (op, budget, start, at) WHERE n.op = i.op) k ON true;
  INSERT INTO reservations (org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap,
                            body_hash, counters, draft)
  SELECT r_org[i], r_id[i], r_request[i], r_amount[i], r_expires[i], r_version[i],
         CASE WHEN held[i] = '{}' THEN 0 ELSE r_cap[i] END, r_hash[i], held[i]::text[], r_draft[i]
  FROM generate_subscripts(r_id, 1) AS i
  ON CONFLICT (org_id, request_id) DO NOTHING;
  GET DIAGNOSTICS made = ROW_COUNT;
  IF made <> cardinality(r_id) THEN
    RAISE EXCEPTION 'a request id is taken' USING ERRCODE = 'serialization_failure';
  END IF;
  RETURN held;
END $$;

-- false: not simple. The counters come with what is freed and what is spent, in the global order.
CREATE FUNCTION resolve_simply(
  orgs text,
  v_org uuid[], v_id uuid[], v_request uuid[], v_amount bigint[], v_state smallint[], v_cost bigint[],
  c_org uuid[], c_budget uuid[], c_start timestamptz[], c_spent bigint[], c_freed bigint[],
  e_org uuid[], e_id uuid[], e_attempt text[], e_kind text[], e_amount bigint[], e_version bigint[], e_request uuid[],
  e_counters text[],
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
  INSERT INTO ledger (org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters)
  SELECT org_id, id, attempt_id, kind, amount, price_version, request_id, counters::text[]
  FROM unnest(e_org, e_id, e_attempt, e_kind, e_amount, e_version, e_request, e_counters)
    AS u (org_id, id, attempt_id, kind, amount, price_version, request_id, counters);
  INSERT INTO record_outbox (org_id, request_id, record)
  SELECT * FROM unnest(t_org, t_request, t_record) ON CONFLICT (org_id, request_id) DO NOTHING;
  RETURN true;
END $$;

REVOKE ALL ON FUNCTION reserve_simply(text, uuid[], uuid[], uuid[], bigint[], timestamptz[], bigint[], bigint[], bytea[],
  bytea[], timestamptz[], timestamptz[], integer[], smallint[], uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION resolve_simply(text, uuid[], uuid[], uuid[], bigint[], smallint[], bigint[], uuid[], uuid[],
  timestamptz[], bigint[], bigint[], uuid[], uuid[], text[], text[], bigint[], bigint[], uuid[], text[], uuid[], uuid[],
  bytea[]) FROM PUBLIC;
