-- Old entries of the log packed: a window of 4,096 entries is a row for each organisation that has one among them; and
-- what a leaf of kind 3 (heads) is made of.

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP = 'DELETE' AND current_user = 'dac_owner' AND current_setting('audit.removing', true) = 'on' THEN RETURN NULL; END IF; RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$;

-- window_no: entries from window_no * 4096 on. first_id and last_id are the least and the greatest record_id: ids begin
-- with their time, so a record is looked for in few packs.
CREATE TABLE log_packs (
  window_no bigint NOT NULL,
  org_id uuid NOT NULL,
  last_seq bigint NOT NULL,
  first_id uuid NOT NULL,
  last_id uuid NOT NULL,
  packed bytea NOT NULL,
  PRIMARY KEY (window_no, org_id)
);
-- It is packed already: trying again costs time and finds nothing.
ALTER TABLE log_packs ALTER packed SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX log_packs_seq ON log_packs (org_id, last_seq);
ALTER TABLE log_packs ENABLE ROW LEVEL SECURITY; ALTER TABLE log_packs FORCE ROW LEVEL SECURITY;
CREATE POLICY log_packs_org ON log_packs USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY log_packs_owner ON log_packs TO dac_owner USING (true) WITH CHECK (true);
CREATE TRIGGER log_packs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_packs
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- How many windows are packed; windows are packed in order, without a gap.
CREATE FUNCTION log_packed() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT coalesce(max(p.window_no) + 1, 0) FROM log_packs p
$$;

-- The packs of a window, of all organisations.
CREATE FUNCTION log_window(of_window bigint) RETURNS TABLE (org_id uuid, packed bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT p.org_id, p.packed FROM log_packs p WHERE p.window_no = of_window ORDER BY p.org_id
$$;

-- The entries of a window that is not packed yet, of all organisations.
CREATE FUNCTION log_unpacked(of_window bigint)
RETURNS TABLE (idx bigint, org_id uuid, org_seq bigint, kind smallint, record_id uuid, pos bigint, leaf bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
  SELECT e.idx, e.org_id, e.org_seq, e.kind, e.record_id, e.position, e.leaf FROM log_entries e
    WHERE e.idx >= of_window * 4096 AND e.idx < (of_window + 1) * 4096 ORDER BY e.idx
$$;

-- Entries of packed windows whose salt is gone have their leaf in the pack and nothing to be found by: their rows go.
-- An entry that still has its salt keeps its row, so that what erases and prunes finds it.
CREATE FUNCTION log_sweep(first_idx bigint, end_idx bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
DECLARE gone bigint;
BEGIN
  PERFORM set_config('audit.removing', 'on', true);
  DELETE FROM log_entries e WHERE e.idx >= first_idx AND e.idx < least(end_idx, log_packed() * 4096)
    AND NOT EXISTS (SELECT 1 FROM log_salts s WHERE s.idx = e.idx AND s.org_id = e.org_id);
  GET DIAGNOSTICS gone = ROW_COUNT;
  PERFORM set_config('audit.removing', 'off', true);
  RETURN gone;
END $$;

-- Stores the packs of the next window. `digest` is SHA-256 over the SHA-256 of each leaf, as they come back from the
-- packs: false = that is not what stands in the table now, or another window is due, and nothing was written.
CREATE FUNCTION log_pack(of_window bigint, org_ids uuid[], last_seqs bigint[], first_ids uuid[], last_ids uuid[],
  packs bytea[], digest bytea) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('dac.audit.packing'));
  IF of_window <> log_packed() OR (SELECT h.size FROM log_head h) < (of_window + 1) * 4096 OR digest IS DISTINCT FROM
      (SELECT sha256(string_agg(sha256(u.leaf), '' ORDER BY u.idx)) FROM log_unpacked(of_window) u) THEN
    RETURN false;
  END IF;
  INSERT INTO log_packs (window_no, org_id, last_seq, first_id, last_id, packed)
    SELECT of_window, u.* FROM unnest(org_ids, last_seqs, first_ids, last_ids, packs) AS u;
  RETURN true;
END $$;

-- What is still there of entries that are packed: the salt, the row behind the leaf as a frame has it, and the leaf of
-- an entry whose row was kept.
CREATE FUNCTION log_payloads(idxs bigint[], org_ids uuid[], kinds smallint[], record_ids uuid[], positions bigint[])
RETURNS TABLE (idx bigint, salt bytea, stored bytea, leaf bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
  SELECT f.* FROM (SELECT u.i, s.salt, CASE u.k
      WHEN 1 THEN (SELECT timestamptz_send(r.started_at) || int8send(r.cost_nano_usd) || int2send(r.outcome)
          || int4send(octet_length(r.model)) || int4send(length(r.record)) || textsend(r.model) || r.record
        FROM requests r WHERE r.position = u.p AND r.org_id = u.o AND r.request_id = u.r)
      WHEN 2 THEN (SELECT timestamptz_send(c.at) || int8send(0) || int2send(0::int2)
          || int4send(0) || int4send(length(c.record)) || c.record
        FROM changes c WHERE c.org_id = u.o AND c.record_id = u.r) END AS stored,
      (SELECT e.leaf FROM log_entries e WHERE e.idx = u.i AND e.org_id = u.o) AS leaf
    FROM unnest(idxs, org_ids, kinds, record_ids, positions) AS u(i, o, k, r, p)
    LEFT JOIN log_salts s ON s.idx = u.i AND s.org_id = u.o) AS f
  WHERE f.salt IS NOT NULL OR f.stored IS NOT NULL OR f.leaf IS NOT NULL
$$;

CREATE OR REPLACE FUNCTION log_last_seqs(of_orgs uuid[]) RETURNS TABLE (org_id uuid, org_seq bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT o, greatest(0, (SELECT max(e.org_seq) FROM log_entries e WHERE e.org_id = o),
    (SELECT max(p.last_seq) FROM log_packs p WHERE p.org_id = o)) FROM unnest(of_orgs) AS o
$$;

-- Heads: the newest leaf that says the last number of every organisation, and these numbers. They follow from the log;
-- kept are those that exports are made with. All organisations stand in one row, so only the owner's functions read it.
CREATE TABLE log_heads (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  idx bigint NOT NULL,
  at timestamptz NOT NULL,
  org_ids uuid[] NOT NULL,
  org_seqs bigint[] NOT NULL
);
ALTER TABLE log_heads ENABLE ROW LEVEL SECURITY; ALTER TABLE log_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY log_heads_owner ON log_heads TO dac_owner USING (true) WITH CHECK (true);

-- The last number of every organisation, found by skipping from one to the next in the indexes.
CREATE FUNCTION log_all_seqs() RETURNS TABLE (org_id uuid, org_seq bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
  WITH RECURSIVE fresh AS (
    (SELECT e.org_id FROM log_entries e ORDER BY e.org_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.org_id FROM log_entries e WHERE e.org_id > f.org_id ORDER BY e.org_id LIMIT 1)
      FROM fresh f WHERE f.org_id IS NOT NULL
  ), old AS (
    (SELECT p.org_id FROM log_packs p ORDER BY p.org_id LIMIT 1)
    UNION ALL
    SELECT (SELECT p.org_id FROM log_packs p WHERE p.org_id > o.org_id ORDER BY p.org_id LIMIT 1)
      FROM old o WHERE o.org_id IS NOT NULL
  )
  SELECT s.org_id, s.org_seq FROM log_last_seqs(ARRAY(
    SELECT f.org_id FROM fresh f WHERE f.org_id IS NOT NULL UNION SELECT o.org_id FROM old o WHERE o.org_id IS NOT NULL
  )) s
$$;

CREATE FUNCTION log_keep_heads(at_idx bigint, at_time timestamptz, of_orgs uuid[], seqs bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
  INSERT INTO log_heads (idx, at, org_ids, org_seqs) VALUES (at_idx, at_time, of_orgs, seqs)
    ON CONFLICT (is_only) DO UPDATE SET idx = at_idx, at = at_time, org_ids = of_orgs, org_seqs = seqs
$$;

CREATE FUNCTION log_newest_heads(OUT idx bigint, OUT at timestamptz, OUT leaf bytea, OUT salt bytea, OUT org_ids uuid[],
  OUT org_seqs bigint[]) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT h.idx, h.at, e.leaf, s.salt, h.org_ids, h.org_seqs FROM log_heads h
    JOIN log_entries e ON e.idx = h.idx AND e.kind = 3 JOIN log_salts s ON s.idx = e.idx AND s.org_id = e.org_id
$$;

REVOKE ALL ON FUNCTION log_packed(), log_window(bigint), log_unpacked(bigint), log_sweep(bigint, bigint),
  log_pack(bigint, uuid[], bigint[], uuid[], uuid[], bytea[], bytea),
  log_payloads(bigint[], uuid[], smallint[], uuid[], bigint[]),
  log_all_seqs(), log_keep_heads(bigint, timestamptz, uuid[], bigint[]), log_newest_heads() FROM PUBLIC;
