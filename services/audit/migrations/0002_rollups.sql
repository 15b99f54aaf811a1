-- What requests add up to: sums and sketches by time and dimensions, each request counted once.

-- A row is one cell: an organisation, a kind of cell, a time step and one value of each dimension of that kind.
--   kind 0: all; 1: model, provider, intent; 2: team, project, user, key; 3: all of these;
--   4: team, model, provider, intent, complexity; 5: model and provider of every attempt; 6: team; 7: project.
-- Minutes hold the kinds 0, 1, 3; hours 0, 1, 2, 3, 6, 7; days all. `cell` is a digest of the values. Sketches are bins of
-- DDSketch whose concatenation is their sum.
CREATE FUNCTION make_rollups(named text, hypertable_step interval) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  timescale text := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'timescaledb');
BEGIN
  EXECUTE format($table$
    CREATE TABLE %I (
      org_id uuid NOT NULL, kind smallint NOT NULL, bucket timestamptz NOT NULL, cell uuid NOT NULL,
      team_id uuid, project_id uuid, user_id uuid, key_id uuid, owner uuid,
      model text NOT NULL, provider text NOT NULL, intent text NOT NULL, complexity smallint NOT NULL,
      requests bigint NOT NULL, ok bigint NOT NULL, client_gone bigint NOT NULL, refused bigint NOT NULL,
      failed bigint NOT NULL, indeterminate bigint NOT NULL,
      input_tokens bigint NOT NULL, input_cached_tokens bigint NOT NULL, cache_write_tokens bigint NOT NULL,
      output_tokens bigint NOT NULL, reasoning_tokens bigint NOT NULL,
      cost_nano_usd bigint NOT NULL, reserved_nano_usd bigint NOT NULL, reasoning_nano_usd bigint NOT NULL,
      cache_lookups bigint NOT NULL, cache_hits bigint NOT NULL, coalesced bigint NOT NULL,
      saved_nano_usd bigint NOT NULL,
      quality_count bigint NOT NULL, quality_points bigint NOT NULL, quality_squared bigint NOT NULL,
      fallbacks bigint NOT NULL, attempts bigint NOT NULL, failed_attempts bigint NOT NULL,
      streams bigint NOT NULL, turns bigint NOT NULL, recalled bigint NOT NULL, tool_calls bigint NOT NULL,
      clean bigint NOT NULL, clean_nano_usd bigint NOT NULL, clean_input_tokens bigint NOT NULL,
      clean_output_tokens bigint NOT NULL, clean_squared numeric NOT NULL,
      latency bytea NOT NULL, first_token bytea NOT NULL,
      PRIMARY KEY (org_id, kind, bucket, cell)
    ) %s$table$, named, CASE WHEN timescale IS NULL THEN 'PARTITION BY RANGE (bucket)' ELSE '' END);
  -- `owner` is the user, or the key of a caller without one.
  EXECUTE format('CREATE INDEX %I ON %I (org_id, owner, bucket) WHERE kind = 3', named || '_owner', named);
  EXECUTE format('CREATE INDEX %I ON %I (org_id, key_id, bucket) WHERE kind = 3', named || '_key', named);
  EXECUTE format('CREATE INDEX %I ON %I (org_id, team_id, bucket) WHERE kind = 4', named || '_team', named);
  EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', named);
  EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', named);
  EXECUTE format($policy$CREATE POLICY %I ON %I
    USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
    WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))$policy$,
    named || '_org', named);
  EXECUTE format('CREATE POLICY %I ON %I TO dac_owner USING (true) WITH CHECK (true)', named || '_owner', named);
  IF timescale IS NOT NULL THEN
    EXECUTE format('SELECT %I.create_hypertable(%L::regclass, %L::name, chunk_time_interval => %L::interval)',
      timescale, named, 'bucket', hypertable_step);
  END IF;
END $$;

-- One partition, with the table's own rules. What arrived in the default partition for that time stays there, and no
-- partition is made.
CREATE FUNCTION make_rollup_partition(parent text, named text, starts timestamptz, ends timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
DECLARE
  taken boolean := false;
BEGIN
  -- Replicas make partitions at the same time.
  PERFORM pg_advisory_xact_lock(hashtext('dac.audit.partitions'));
  IF parent NOT IN ('rollup_minutes', 'rollup_hours', 'rollup_days') OR NOT starts_with(named, parent || '_') THEN
    RAISE EXCEPTION '% is no table of rollups', parent;
  END IF;
  IF to_regclass(named) IS NOT NULL OR (SELECT relkind FROM pg_class WHERE oid = to_regclass(parent)) <> 'p' THEN
    RETURN false;
  END IF;
  IF starts IS NULL THEN
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', named, parent);
  ELSE
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE bucket >= $1 AND bucket < $2)', parent || '_rest')
      INTO taken USING starts, ends;
    IF taken THEN
      RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', named, parent, starts, ends);
  END IF;
  -- Sketches stay in their row: thousands of them are read for one dashboard, and each would be fetched by itself.
  EXECUTE format('ALTER TABLE %I SET (fillfactor = 80, toast_tuple_target = 8160)', named);
  EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', named);
  EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', named);
  EXECUTE format($policy$CREATE POLICY %I ON %I
    USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
    WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))$policy$,
    named || '_org', named);
  EXECUTE format('CREATE POLICY %I ON %I TO dac_owner USING (true) WITH CHECK (true)', named || '_owner', named);
  RETURN true;
END $$;

SELECT make_rollups('rollup_minutes', interval '1 day'), make_rollups('rollup_hours', interval '30 days'),
  make_rollups('rollup_days', interval '1 year');
SELECT make_rollup_partition(name, name || '_rest', NULL, NULL)
  FROM unnest(ARRAY['rollup_minutes', 'rollup_hours', 'rollup_days']) AS name;
DROP FUNCTION make_rollups(text, interval);

-- What is older than its time: partitions whole, rows of the default partition one by one. Returns how many tables went.
CREATE FUNCTION forget_rollups(parent text, before timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
DECLARE
  old record;
  gone integer := 0;
  timescale text := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'timescaledb');
BEGIN
  IF parent NOT IN ('rollup_minutes', 'rollup_hours', 'rollup_days') THEN
    RAISE EXCEPTION '% is no table of rollups', parent;
  END IF;
  IF timescale IS NOT NULL AND (SELECT relkind FROM pg_class WHERE oid = to_regclass(parent)) = 'r' THEN
    EXECUTE format('SELECT %I.drop_chunks(%L::regclass, older_than => $1)', timescale, parent) USING before;
    RETURN 0;
  END IF;
  FOR old IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(parent) AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
      AND substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)')::timestamptz <= before
  LOOP
    EXECUTE format('DROP TABLE %I', old.relname);
    gone := gone + 1;
  END LOOP;
  EXECUTE format('DELETE FROM %I WHERE bucket < $1', parent || '_rest') USING before;
  RETURN gone;
END $$;

-- The days of a caller's threads: how many conversations, and how long they are.
CREATE TABLE thread_days (
  org_id uuid NOT NULL,
  owner uuid NOT NULL,
  day date NOT NULL,
  thread_id text NOT NULL,
  turns bigint NOT NULL,
  PRIMARY KEY (org_id, owner, day, thread_id)
);
ALTER TABLE thread_days ENABLE ROW LEVEL SECURITY; ALTER TABLE thread_days FORCE ROW LEVEL SECURITY;
CREATE POLICY thread_days_org ON thread_days USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY thread_days_owner ON thread_days TO dac_owner USING (true) WITH CHECK (true);
CREATE INDEX thread_days_day ON thread_days (org_id, day);

-- Days whose figures are to be counted anew from the records: those of requests that were recorded before this migration.
CREATE TABLE recounts (
  org_id uuid NOT NULL,
  day date NOT NULL,
  PRIMARY KEY (org_id, day)
);
ALTER TABLE recounts ENABLE ROW LEVEL SECURITY; ALTER TABLE recounts FORCE ROW LEVEL SECURITY;
CREATE POLICY recounts_org ON recounts USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY recounts_owner ON recounts TO dac_owner USING (true) WITH CHECK (true);

-- The door across organisations: which days are to be counted anew.
CREATE FUNCTION days_to_recount(most integer) RETURNS TABLE (org_id uuid, day date)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT r.org_id, r.day FROM recounts r ORDER BY r.day DESC, r.org_id LIMIT most
$$;
CREATE FUNCTION forget_thread_days(before date) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
  DELETE FROM thread_days t WHERE t.day < before
$$;
REVOKE ALL ON FUNCTION make_rollup_partition(text, text, timestamptz, timestamptz), forget_rollups(text, timestamptz),
  days_to_recount(integer), forget_thread_days(date) FROM PUBLIC;

-- Requests that are stored and not counted yet: put here by the transaction that stores them, taken away by the one that
-- counts them. So each counts once, whoever stores it and however often it is delivered.
CREATE TABLE uncounted (
  org_id uuid NOT NULL,
  request_id uuid NOT NULL,
  PRIMARY KEY (org_id, request_id)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE uncounted ENABLE ROW LEVEL SECURITY; ALTER TABLE uncounted FORCE ROW LEVEL SECURITY;
CREATE POLICY uncounted_org ON uncounted USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY uncounted_owner ON uncounted TO dac_owner USING (true) WITH CHECK (true);
CREATE FUNCTION note_uncounted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO uncounted (org_id, request_id) SELECT org_id, request_id FROM stored;
  RETURN NULL;
END $$;
CREATE TRIGGER requests_uncounted AFTER INSERT ON requests REFERENCING NEW TABLE AS stored
  FOR EACH STATEMENT EXECUTE FUNCTION note_uncounted();
CREATE FUNCTION organisations_to_count() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  WITH RECURSIVE waiting (org_id) AS (
    (SELECT u.org_id FROM uncounted u ORDER BY u.org_id LIMIT 1)
    UNION ALL
    SELECT (SELECT u.org_id FROM uncounted u WHERE u.org_id > w.org_id ORDER BY u.org_id LIMIT 1)
      FROM waiting w WHERE w.org_id IS NOT NULL)
  SELECT org_id FROM waiting WHERE org_id IS NOT NULL
$$;
REVOKE ALL ON FUNCTION organisations_to_count() FROM PUBLIC;

CREATE POLICY requests_counted ON requests FOR SELECT TO dac_owner USING (true);
-- The days of what was recorded before there were figures; once, from day to day through the index.
CREATE FUNCTION seed_recounts() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  org uuid := '00000000-0000-0000-0000-000000000000';
  at timestamptz;
BEGIN
  INSERT INTO cursors (consumer, cursor) VALUES ('recounts', 'seeded') ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  LOOP
    SELECT r.org_id INTO org FROM requests r WHERE r.org_id > org ORDER BY r.org_id LIMIT 1;
    EXIT WHEN NOT FOUND;
    SELECT r.started_at INTO at FROM requests r WHERE r.org_id = org ORDER BY r.started_at LIMIT 1;
    WHILE at IS NOT NULL LOOP
      INSERT INTO recounts (org_id, day) VALUES (org, (at AT TIME ZONE 'UTC')::date) ON CONFLICT DO NOTHING;
      at := (SELECT r.started_at FROM requests r WHERE r.org_id = org
        AND r.started_at >= (date_trunc('day', at, 'UTC') + interval '1 day') ORDER BY r.started_at LIMIT 1);
    END LOOP;
  END LOOP;
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION seed_recounts() FROM PUBLIC;
