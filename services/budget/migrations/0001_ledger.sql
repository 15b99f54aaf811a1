-- Money: budgets and their counters, reservations, the ledger, prices, and the outboxes.
--
-- Keys begin with the id and end with org_id: row-level security is a condition on org_id, and an index that began
-- with it would look good enough to the planner to read all of an organisation's rows for one id.

CREATE TABLE budgets (
  org_id uuid NOT NULL,
  budget_id uuid NOT NULL,
  level_kind smallint NOT NULL CHECK (level_kind IN (1, 5)),
  level_id uuid NOT NULL,
  window_kind smallint NOT NULL CHECK (window_kind BETWEEN 1 AND 3),
  limit_nano_usd bigint NOT NULL CHECK (limit_nano_usd >= 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (budget_id, org_id),
  UNIQUE (level_id, level_kind, window_kind, org_id)
);
ALTER TABLE budgets ENABLE ROW LEVEL SECURITY; ALTER TABLE budgets FORCE ROW LEVEL SECURITY;
CREATE POLICY budgets_org ON budgets USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

-- One row per window instance: there are no resets. Half-full pages keep the hot updates in the page (HOT).
CREATE TABLE counters (
  org_id uuid NOT NULL,
  budget_id uuid NOT NULL,
  window_start timestamptz NOT NULL,
  committed bigint NOT NULL DEFAULT 0 CHECK (committed >= 0),
  reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
  PRIMARY KEY (budget_id, window_start, org_id),
  FOREIGN KEY (budget_id, org_id) REFERENCES budgets ON DELETE CASCADE
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
ALTER TABLE counters ENABLE ROW LEVEL SECURITY; ALTER TABLE counters FORCE ROW LEVEL SECURITY;
CREATE POLICY counters_org ON counters USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

-- state: 0 open, 1 committed, 2 released, 3 indeterminate. counters: "<budget_id>@<window start, unix seconds>".
CREATE TABLE reservations (
  org_id uuid NOT NULL,
  reservation_id uuid NOT NULL,
  request_id uuid NOT NULL,
  amount bigint NOT NULL CHECK (amount >= 0),
  cost bigint NOT NULL DEFAULT 0 CHECK (cost >= 0),
  state smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3),
  expires_at timestamptz NOT NULL,
  price_version bigint NOT NULL,
  output_cap bigint NOT NULL,
  body_hash bytea NOT NULL,
  counters text[] NOT NULL,
  draft bytea NOT NULL,
  PRIMARY KEY (reservation_id, org_id),
  UNIQUE (request_id, org_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX reservations_open ON reservations (expires_at) WHERE state = 0;
ALTER TABLE reservations ENABLE ROW LEVEL SECURITY; ALTER TABLE reservations FORCE ROW LEVEL SECURITY;
CREATE POLICY reservations_org ON reservations USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY reservations_owner ON reservations TO dac_owner USING (true) WITH CHECK (true);

-- Append-only: what was charged, by attempt. Counters are a cache of it.
CREATE TABLE ledger (
  org_id uuid NOT NULL,
  reservation_id uuid NOT NULL,
  attempt_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('commit', 'overrun', 'release', 'indeterminate')),
  amount bigint NOT NULL CHECK (amount >= 0),
  price_version bigint NOT NULL,
  request_id uuid NOT NULL,
  counters text[] NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (reservation_id, attempt_id, kind, org_id)
);
ALTER TABLE ledger ENABLE ROW LEVEL SECURITY; ALTER TABLE ledger FORCE ROW LEVEL SECURITY;
CREATE POLICY ledger_org ON ledger USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Prices are the installation's, not an organisation's. state: priced, free, unknown (withdrawn).
CREATE TABLE prices (
  price_version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  provider text NOT NULL,
  model text NOT NULL,
  state text NOT NULL CHECK (state IN ('priced', 'free', 'unknown')),
  buckets text[] NOT NULL,
  nano_usd_per_mtok bigint[] NOT NULL,
  valid_from timestamptz NOT NULL DEFAULT now(),
  source text NOT NULL CHECK (source IN ('config', 'operator', 'catalog', 'fetched')),
  CHECK (cardinality(buckets) = cardinality(nano_usd_per_mtok))
);

-- Records in commit order: by transaction id, then by number. A row is handed out only when no older transaction
-- can still commit, so a reader's cursor never skips one.
CREATE TABLE record_outbox (
  org_id uuid NOT NULL,
  request_id uuid NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  seq bigint GENERATED ALWAYS AS IDENTITY,
  record bytea NOT NULL,
  PRIMARY KEY (request_id, org_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX record_outbox_order ON record_outbox (xid, seq);
ALTER TABLE record_outbox ENABLE ROW LEVEL SECURITY; ALTER TABLE record_outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY record_outbox_org ON record_outbox USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY record_outbox_owner ON record_outbox TO dac_owner USING (true) WITH CHECK (true);

CREATE TABLE record_consumers (
  consumer text PRIMARY KEY,
  xid xid8 NOT NULL DEFAULT '0',
  seq bigint NOT NULL DEFAULT 0,
  seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE admin_outbox (
  org_id uuid NOT NULL,
  record_id uuid NOT NULL,
  record bytea NOT NULL,
  PRIMARY KEY (org_id, record_id)
);
ALTER TABLE admin_outbox ENABLE ROW LEVEL SECURITY; ALTER TABLE admin_outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY admin_outbox_org ON admin_outbox USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY admin_outbox_owner ON admin_outbox TO dac_owner USING (true) WITH CHECK (true);

-- The three doors across organisations. Each does one thing; row-level security holds for everything else.

CREATE FUNCTION organisations_with_work() RETURNS TABLE (org_id uuid, work text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT DISTINCT r.org_id, 'expired' FROM reservations r WHERE r.state = 0 AND r.expires_at <= now()
  UNION ALL
  SELECT DISTINCT a.org_id, 'admin' FROM admin_outbox a
$$;

CREATE FUNCTION read_records(after_xid xid8, after_seq bigint, most integer)
RETURNS TABLE (xid xid8, seq bigint, record bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
  SELECT o.xid, o.seq, o.record FROM record_outbox o
  WHERE (o.xid, o.seq) > (after_xid, after_seq) AND o.xid < pg_snapshot_xmin(pg_current_snapshot())
  ORDER BY o.xid, o.seq LIMIT most
$$;

CREATE FUNCTION forget_records(up_to_xid xid8, up_to_seq bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
  WITH gone AS (DELETE FROM record_outbox o WHERE (o.xid, o.seq) <= (up_to_xid, up_to_seq) RETURNING 1)
  SELECT count(*) FROM gone
$$;

REVOKE ALL ON FUNCTION organisations_with_work(), read_records(xid8, bigint, integer),
  forget_records(xid8, bigint) FROM PUBLIC;
