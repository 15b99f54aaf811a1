-- What outcomes have taught, in sums that any replica may add to.

-- An intent's clock: its outcomes so far. By it the sums fade, worked out where they are read or added to.
CREATE TABLE learned_clocks (
  org_id uuid NOT NULL,
  intent text NOT NULL,
  clock double precision NOT NULL,
  changed xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (org_id, intent)
) WITH (fillfactor = 50);
ALTER TABLE learned_clocks ENABLE ROW LEVEL SECURITY; ALTER TABLE learned_clocks FORCE ROW LEVEL SECURITY;
CREATE POLICY learned_clocks_org ON learned_clocks USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY learned_clocks_owner ON learned_clocks TO dac_owner USING (true) WITH CHECK (true);

CREATE TABLE learned (
  org_id uuid NOT NULL,
  intent text NOT NULL,
  model text NOT NULL,
  -- The intent's clock at which these sums hold.
  clock double precision NOT NULL,
  outcomes double precision NOT NULL,
  quality double precision NOT NULL,
  expected double precision NOT NULL,
  cost_usd double precision NOT NULL,
  latency_s double precision NOT NULL,
  explored double precision NOT NULL,
  changed xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (org_id, intent, model)
) WITH (fillfactor = 50);
ALTER TABLE learned ENABLE ROW LEVEL SECURITY; ALTER TABLE learned FORCE ROW LEVEL SECURITY;
CREATE POLICY learned_org ON learned USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY learned_owner ON learned TO dac_owner USING (true) WITH CHECK (true);

-- The answers that may still be rated, each with what it counted for. No text of any request.
CREATE TABLE answers (
  org_id uuid NOT NULL,
  request_id uuid NOT NULL,
  intent text NOT NULL,
  model text NOT NULL,
  clock double precision NOT NULL,
  -- What it was graded by others than its reader; NULL = by nobody.
  graded double precision,
  counted double precision NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, request_id)
) WITH (fillfactor = 90);
CREATE INDEX answers_at ON answers (at);
ALTER TABLE answers ENABLE ROW LEVEL SECURITY; ALTER TABLE answers FORCE ROW LEVEL SECURITY;
CREATE POLICY answers_org ON answers USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY answers_owner ON answers TO dac_owner USING (true) WITH CHECK (true);

-- How far budget's outbox has been read: moved in the transaction of what was read.
CREATE TABLE learning_cursors (
  consumer text PRIMARY KEY,
  cursor text NOT NULL
) WITH (fillfactor = 50);

-- A sum after so many outcomes of its intent. What is next to nothing becomes nothing: PostgreSQL refuses to underflow.
CREATE FUNCTION faded(amount double precision, age double precision, discount double precision)
RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN abs(amount) < 1e-30 OR age * -ln(discount) > 40 THEN 0
    ELSE amount * power(discount, greatest(age, 0)) END
$$;

-- The ways across organisations: whose sums changed in or after a transaction, and forgetting answers of all of them.
CREATE FUNCTION learning_organisations(since xid8) RETURNS TABLE (org_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = router AS $$
  SELECT l.org_id FROM router.learned l WHERE l.changed >= since
  UNION SELECT c.org_id FROM router.learned_clocks c WHERE c.changed >= since
$$;
CREATE FUNCTION forget_answers(before timestamptz, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = router AS $$
  WITH gone AS (
    DELETE FROM router.answers WHERE (org_id, request_id) IN (
      SELECT a.org_id, a.request_id FROM router.answers a WHERE a.at < before ORDER BY a.at LIMIT most)
    RETURNING 1)
  SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION learning_organisations(xid8), forget_answers(timestamptz, integer) FROM PUBLIC;
