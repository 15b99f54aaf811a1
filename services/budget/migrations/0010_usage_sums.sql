-- Usage is read from sums beside the ledger: of days, of quarters of an hour, and of what is charged to each counter. A
-- worker folds the ledger's lines into them; what is not folded yet is read from the ledger, so that a sum and the lines
-- behind it are always all lines.
--
-- Beside the older program: the lines that it writes get their position by the column's default.

-- The order in which lines are folded. A transaction has its id before it takes a number: once every transaction has ended
-- that had an id when the sequence stood at N, no line up to N can still appear. Lines from before have no position.
CREATE SEQUENCE ledger_position;
ALTER TABLE ledger ADD COLUMN position bigint;
ALTER TABLE ledger ALTER COLUMN position
  SET DEFAULT nextval(CASE WHEN pg_current_xact_id() IS NOT NULL THEN 'ledger_position'::regclass END);
-- It grows at its end, whoever writes; an organisation's lines behind a position are found in it without the others'.
CREATE INDEX ledger_position_org ON ledger (position, org_id) WHERE position IS NOT NULL;
CREATE POLICY ledger_folded ON ledger FOR SELECT TO dac_owner USING (true);

-- What lines of one kind have in common. kind 0: provider, model and operation; 1: their caller and tags, too. The id is a
-- digest of all of it. The first and the last quarter of an hour that has any: who asks for a day looks into few cells.
CREATE TABLE usage_cells (
  org_id uuid NOT NULL,
  cell_id uuid NOT NULL,
  kind smallint NOT NULL CHECK (kind IN (0, 1)),
  provider text NOT NULL,
  model text NOT NULL,
  operation text NOT NULL,
  path text[] NOT NULL,
  tags text[] NOT NULL,
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL,
  PRIMARY KEY (cell_id, org_id)
) WITH (fillfactor = 90);
CREATE INDEX usage_cells_last ON usage_cells (org_id, kind, last_at);
ALTER TABLE usage_cells ENABLE ROW LEVEL SECURITY; ALTER TABLE usage_cells FORCE ROW LEVEL SECURITY;
CREATE POLICY usage_cells_org ON usage_cells USING (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]))
  WITH CHECK (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]));
CREATE POLICY usage_cells_owner ON usage_cells TO dac_owner USING (true) WITH CHECK (true);

-- grain 0: a quarter of an hour; 1: a day of UTC. Requests are counted four ways: once each, once for each model, once for
-- each provider, and once for each of both.
CREATE TABLE usage_sums (
  org_id uuid NOT NULL,
  cell_id uuid NOT NULL,
  grain smallint NOT NULL CHECK (grain IN (0, 1)),
  bucket timestamptz NOT NULL,
  requests bigint NOT NULL,
  requests_by_model bigint NOT NULL,
  requests_by_provider bigint NOT NULL,
  requests_by_both bigint NOT NULL,
  input bigint NOT NULL,
  input_cached bigint NOT NULL,
  cache_write bigint NOT NULL,
  output bigint NOT NULL,
  reasoning bigint NOT NULL,
  cost bigint NOT NULL,
  PRIMARY KEY (cell_id, grain, bucket, org_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE usage_sums ENABLE ROW LEVEL SECURITY; ALTER TABLE usage_sums FORCE ROW LEVEL SECURITY;
CREATE POLICY usage_sums_org ON usage_sums USING (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]))
  WITH CHECK (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]));
CREATE POLICY usage_sums_owner ON usage_sums TO dac_owner USING (true) WITH CHECK (true);

-- What quarters of an hour have charged to a counter ("<budget_id>@<window start>"), for as long as a pace is asked for.
CREATE TABLE counter_sums (
  org_id uuid NOT NULL,
  counter text NOT NULL,
  bucket timestamptz NOT NULL,
  cost bigint NOT NULL,
  PRIMARY KEY (counter, bucket, org_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX counter_sums_bucket ON counter_sums (bucket);
ALTER TABLE counter_sums ENABLE ROW LEVEL SECURITY; ALTER TABLE counter_sums FORCE ROW LEVEL SECURITY;
CREATE POLICY counter_sums_org ON counter_sums USING (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]))
  WITH CHECK (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]));
CREATE POLICY counter_sums_owner ON counter_sums TO dac_owner USING (true) WITH CHECK (true);

-- How far the ledger is folded: lines up to `position`, and of those without one all before `history_at`; `history_end` is
-- behind the last of them. Counters have sums from `counters_since` on.
CREATE TABLE usage_mark (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  position bigint NOT NULL DEFAULT 0,
  history_at timestamptz NOT NULL,
  history_end timestamptz NOT NULL,
  counters_since timestamptz NOT NULL
);
INSERT INTO usage_mark (history_at, history_end, counters_since)
SELECT coalesce(date_bin('1 day', min(at), 'epoch'), 'infinity'), coalesce(max(at), '-infinity') + interval '1 day',
       date_bin('15 minutes', now() - interval '48 hours', 'epoch')
FROM ledger;
-- Lines without a position are found by their time, and the planner knows that so far none has one.
SELECT brin_summarize_new_values('ledger_at');
ANALYZE ledger (position);

-- Where the ledger ends, and which transactions may still write before that: all below `before`, which takes an id of its
-- own after the look (a snapshot's end is behind the last that has ended, and others may have begun).
CREATE FUNCTION ledger_end(OUT last bigint, OUT before xid8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  -- Before its first number it stands at one, too.
  SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END INTO last FROM ledger_position s;
  before := pg_current_xact_id();
END $$;

-- Some lines into the sums, for fold_ledger: those behind `after` up to `up_to`, or, where these are NULL, those without a position of a time.
CREATE FUNCTION add_lines(after bigint, up_to bigint, since timestamptz, until timestamptz, counters_since timestamptz)
RETURNS void LANGUAGE sql SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_sort = off SET work_mem = '64MB' AS $$
  WITH lines AS MATERIALIZED (
    SELECT line.org_id, date_bin('15 minutes', line.at, 'epoch') AS bucket, line.provider, line.model, line.operation,
      line.path, line.tags, line.counters,
      count(*) FILTER (WHERE line.kind <> 'adjust' AND f.is_first) AS requests,
      count(*) FILTER (WHERE line.kind <> 'adjust' AND (f.is_first OR NOT EXISTS (
        SELECT FROM ledger e WHERE e.reservation_id = line.reservation_id AND e.org_id = line.org_id AND e.kind = 'commit'
          AND e.attempt_id COLLATE "C" < line.attempt_id COLLATE "C" AND e.model = line.model))) AS requests_by_model,
      count(*) FILTER (WHERE line.kind <> 'adjust' AND (f.is_first OR NOT EXISTS (
        SELECT FROM ledger e WHERE e.reservation_id = line.reservation_id AND e.org_id = line.org_id AND e.kind = 'commit'
          AND e.attempt_id COLLATE "C" < line.attempt_id COLLATE "C" AND e.provider = line.provider))) AS requests_by_provider,
      count(*) FILTER (WHERE line.kind <> 'adjust' AND (f.is_first OR NOT EXISTS (
        SELECT FROM ledger e WHERE e.reservation_id = line.reservation_id AND e.org_id = line.org_id AND e.kind = 'commit'
          AND e.attempt_id COLLATE "C" < line.attempt_id COLLATE "C" AND e.model = line.model
          AND e.provider = line.provider))) AS requests_by_both,
      coalesce(sum(line.tokens[1]), 0) AS input, coalesce(sum(line.tokens[2]), 0) AS input_cached,
      coalesce(sum(line.tokens[3]), 0) AS cache_write, coalesce(sum(line.tokens[4]), 0) AS output,
      coalesce(sum(line.tokens[5]), 0) AS reasoning, sum(line.amount) AS cost
    FROM (
      SELECT * FROM ledger l WHERE l.position > after AND l.position <= up_to
      UNION ALL
      SELECT * FROM ledger l WHERE after IS NULL AND l.position IS NULL AND l.at >= since AND l.at < until) AS line
    CROSS JOIN LATERAL (
      SELECT line.attempt_id = '' OR starts_with(line.attempt_id, '0:') AS is_first) f
    WHERE line.kind IN ('commit', 'indeterminate', 'adjust')
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8),
  counted AS (
    INSERT INTO counter_sums AS s (org_id, counter, bucket, cost)
    SELECT l.org_id, c.counter, l.bucket, sum(l.cost) FROM lines l, unnest(l.counters) AS c (counter)
    WHERE l.bucket >= counters_since GROUP BY 1, 2, 3
    ON CONFLICT (org_id, counter, bucket) DO UPDATE SET cost = s.cost + EXCLUDED.cost),
  named AS MATERIALIZED (
    SELECT n.*, substr(encode(sha256(convert_to(
        ROW(n.kind, n.provider, n.model, n.operation, n.path, n.tags)::text, 'UTF8')), 'hex'), 1, 32)::uuid AS cell_id
    FROM (
      SELECT l.org_id, l.bucket, k.kind, l.provider, l.model, l.operation,
        CASE k.kind WHEN 1 THEN l.path ELSE '{}' END AS path, CASE k.kind WHEN 1 THEN l.tags ELSE '{}' END AS tags,
        sum(l.requests) AS requests, sum(l.requests_by_model) AS requests_by_model,
        sum(l.requests_by_provider) AS requests_by_provider, sum(l.requests_by_both) AS requests_by_both,
        sum(l.input) AS input, sum(l.input_cached) AS input_cached, sum(l.cache_write) AS cache_write,
        sum(l.output) AS output, sum(l.reasoning) AS reasoning, sum(l.cost) AS cost
      FROM lines l CROSS JOIN (VALUES (0::smallint), (1::smallint)) AS k (kind)
      GROUP BY 1, 2, 3, 4, 5, 6, 7, 8) AS n),
  celled AS (
    INSERT INTO usage_cells AS c (org_id, cell_id, kind, provider, model, operation, path, tags, first_at, last_at)
    SELECT n.org_id, n.cell_id, n.kind, n.provider, n.model, n.operation, n.path, n.tags, min(n.bucket), max(n.bucket)
    FROM named n GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ON CONFLICT (org_id, cell_id) DO UPDATE
      SET first_at = least(c.first_at, EXCLUDED.first_at), last_at = greatest(c.last_at, EXCLUDED.last_at)
      WHERE EXCLUDED.first_at < c.first_at OR EXCLUDED.last_at > c.last_at)
  INSERT INTO usage_sums AS s (org_id, cell_id, grain, bucket, requests, requests_by_model, requests_by_provider,
    requests_by_both, input, input_cached, cache_write, output, reasoning, cost)
  SELECT n.org_id, n.cell_id, g.grain, CASE g.grain WHEN 0 THEN n.bucket ELSE date_bin('1 day', n.bucket, 'epoch') END,
    sum(n.requests), sum(n.requests_by_model), sum(n.requests_by_provider), sum(n.requests_by_both), sum(n.input),
    sum(n.input_cached), sum(n.cache_write), sum(n.output), sum(n.reasoning), sum(n.cost)
  FROM named n CROSS JOIN (VALUES (0::smallint), (1::smallint)) AS g (grain)
  GROUP BY 1, 2, 3, 4
  ON CONFLICT (org_id, cell_id, grain, bucket) DO UPDATE SET requests = s.requests + EXCLUDED.requests,
    requests_by_model = s.requests_by_model + EXCLUDED.requests_by_model,
    requests_by_provider = s.requests_by_provider + EXCLUDED.requests_by_provider,
    requests_by_both = s.requests_by_both + EXCLUDED.requests_by_both, input = s.input + EXCLUDED.input,
    input_cached = s.input_cached + EXCLUDED.input_cached, cache_write = s.cache_write + EXCLUDED.cache_write,
    output = s.output + EXCLUDED.output, reasoning = s.reasoning + EXCLUDED.reasoning, cost = s.cost + EXCLUDED.cost
$$;

-- One step of folding, which is all or nothing: at most `most` lines up to `last`, or an hour of those without a position.
-- `last` and `before` as ledger_end said them. True: there is more to do. False: nothing is left, or somebody else folds.
-- NULL: a transaction that began before still runs.
CREATE FUNCTION fold_ledger(last bigint, before xid8, most integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  mark usage_mark; up_to bigint; since timestamptz;
BEGIN
  SELECT * INTO mark FROM usage_mark FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF mark.position < last THEN
    -- The statements below see what this one sees, and more.
    IF pg_snapshot_xmin(pg_current_snapshot()) < before THEN
      RETURN NULL;
    END IF;
    up_to := least(last, mark.position + most);
    PERFORM add_lines(mark.position, up_to, NULL, NULL, mark.counters_since);
    UPDATE usage_mark SET position = up_to;
    RETURN up_to < last OR mark.history_at < 'infinity';
  END IF;
  IF mark.history_at < 'infinity' THEN
    PERFORM add_lines(NULL, NULL, mark.history_at, mark.history_at + interval '1 hour', mark.counters_since);
    UPDATE usage_mark SET history_at =
      CASE WHEN mark.history_at + interval '1 hour' >= history_end THEN 'infinity' ELSE mark.history_at + interval '1 hour' END;
    RETURN true;
  END IF;
  since := date_bin('15 minutes', now() - interval '48 hours', 'epoch');
  IF since > mark.counters_since + interval '1 hour' THEN
    DELETE FROM counter_sums c WHERE c.bucket < since;
    UPDATE usage_mark SET counters_since = since;
  END IF;
  RETURN false;
END $$;

REVOKE ALL ON FUNCTION ledger_end(), fold_ledger(bigint, xid8, integer),
  add_lines(bigint, bigint, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
