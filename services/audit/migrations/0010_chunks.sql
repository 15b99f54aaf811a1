-- Where TimescaleDB keeps the figures: its chunks get the rules that partitions get when they are made.

-- TimescaleDB copies rights to a chunk, and no row-level security: whoever names the chunk would read all organisations.
-- Called in the transaction that wrote, so nobody sees a chunk before. Returns how many there were.
CREATE FUNCTION guard_chunks() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
DECLARE
  chunk regclass;
  guarded integer := 0;
BEGIN
  FOR chunk IN
    SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent IN ('rollup_minutes'::regclass, 'rollup_hours'::regclass, 'rollup_days'::regclass)
      AND NOT c.relrowsecurity
  LOOP
    -- Not forced, which chunks refuse: only their owner is spared, to whom the tables' policies show all rows, too.
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', chunk);
    EXECUTE format($policy$CREATE POLICY chunk_org ON %s
      USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
      WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))$policy$,
      chunk);
    guarded := guarded + 1;
  END LOOP;
  RETURN guarded;
END $$;
REVOKE ALL ON FUNCTION guard_chunks() FROM PUBLIC;

DO $$
DECLARE
  named text;
BEGIN
  IF (SELECT relkind FROM pg_class WHERE oid = 'rollup_days'::regclass) = 'r' THEN
    FOREACH named IN ARRAY ARRAY['rollup_minutes', 'rollup_hours', 'rollup_days'] LOOP
      -- As partitions have it; chunks take it over. Nothing asks by time alone.
      EXECUTE format('ALTER TABLE %I SET (fillfactor = 80, toast_tuple_target = 8160)', named);
      EXECUTE format('DROP INDEX IF EXISTS %I', named || '_bucket_idx');
    END LOOP;
    PERFORM guard_chunks();
  END IF;
END $$;
