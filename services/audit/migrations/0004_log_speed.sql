-- The whole log, read for verification: blocks of frames (mesh/tlog/frames.py), each in memory that was used before.
-- One value of megabytes costs more in fresh pages than in all that stands in it. What belongs to a block is read as
-- ranges and joined: positions of requests are in the order of their entries, and equality holds where they are not.
-- -1 = there is no such row. log_read stays for replicas of the version before.
CREATE FUNCTION log_blocks(first_idx bigint, end_idx bigint) RETURNS SETOF bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_nestloop = off
SET max_parallel_workers_per_gather = 0 SET jit = off AS $$
  SELECT (SELECT coalesce(string_agg('E'::bytea || int2send(f.kind) || int8send(f.idx) || int4send(length(f.leaf))
      || int4send(coalesce(length(f.salt), 0)) || f.leaf || coalesce(f.salt, '')
      || coalesce(f.stored, int8send(0) || int8send(0) || int2send(0::int2) || int4send(0) || int4send(-1)), ''), '')
    FROM (SELECT e.kind, e.idx, e.leaf, s.salt, CASE
        WHEN r.position IS NOT NULL THEN timestamptz_send(r.started_at) || int8send(r.cost_nano_usd)
          || int2send(r.outcome) || int4send(octet_length(r.model)) || int4send(length(r.record))
          || textsend(r.model) || r.record
        WHEN e.kind = 2 THEN (SELECT timestamptz_send(c.at) || int8send(0) || int2send(0::int2)
            || int4send(0) || int4send(length(c.record)) || c.record
          FROM changes c WHERE c.org_id = e.org_id AND c.record_id = e.record_id) END AS stored
      FROM log_entries e
      LEFT JOIN log_salts s ON s.idx = e.idx AND s.org_id = e.org_id AND s.idx >= block AND s.idx < least(block + 64, end_idx)
      LEFT JOIN requests r ON e.kind = 1 AND r.position = e.position AND r.org_id = e.org_id AND r.request_id = e.record_id
        AND r.position >= (SELECT min(m.position) FROM log_entries m
          WHERE m.idx >= block AND m.idx < least(block + 64, end_idx) AND m.kind = 1)
        AND r.position <= (SELECT max(m.position) FROM log_entries m
          WHERE m.idx >= block AND m.idx < least(block + 64, end_idx) AND m.kind = 1)
      WHERE e.idx >= block AND e.idx < least(block + 64, end_idx) ORDER BY e.idx) AS f)
  FROM generate_series(first_idx, end_idx - 1, 64) AS block
$$;

-- What has no leaf yet, in one call: changes first, each kind in the order of its positions. The lock is held only until
-- the last positions are known: what the inner block took goes back when it is rolled back. log_settled and log_waiting
-- stay for replicas of the version before.
CREATE FUNCTION log_take(after_request bigint, after_change bigint, most integer)
RETURNS TABLE (kind smallint, pos bigint, org_id text, record_id text, record bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
-- A plan that was made while the tables were small is kept: it has to be the one through the index.
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
  last_request bigint;
  last_change bigint;
BEGIN
  BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('dac.audit.positions'));
    last_request := (SELECT max(r.position) FROM requests r);
    last_change := (SELECT max(c.position) FROM changes c);
    RAISE EXCEPTION USING ERRCODE = 'DAC01';
  EXCEPTION WHEN SQLSTATE 'DAC01' THEN NULL;
  END;
  IF last_change > after_change THEN
    RETURN QUERY SELECT 2::smallint, c.position, c.org_id::text, c.record_id::text, c.record FROM changes c
      WHERE c.position > after_change AND c.position <= last_change ORDER BY c.position LIMIT most;
  END IF;
  IF last_request > after_request THEN
    RETURN QUERY SELECT 1::smallint, r.position, r.org_id::text, r.request_id::text, r.record FROM requests r
      WHERE r.position > after_request AND r.position <= last_request ORDER BY r.position LIMIT most;
  END IF;
END $$;
REVOKE ALL ON FUNCTION log_blocks(bigint, bigint), log_take(bigint, bigint, integer) FROM PUBLIC;

-- The same organisations as before, read once for each statement: a batch of hundreds of rows of hundreds of
-- organisations took its list apart for every row.
ALTER POLICY requests_org ON requests WITH CHECK (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]));
ALTER POLICY uncounted_org ON uncounted WITH CHECK (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]));
