-- Where the log begins: old leaves go by whole windows, in the transaction that appends the leaf which declares it.

-- idx: entries before it are gone. leaf_idx: the leaf that says so. org_ids, org_seqs: the last number of each
-- organisation among what is gone. archived: so many entries an operator's archive was reported to have.
CREATE TABLE log_start (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  idx bigint NOT NULL DEFAULT 0,
  leaf_idx bigint NOT NULL DEFAULT -1,
  org_ids uuid[] NOT NULL DEFAULT '{}',
  org_seqs bigint[] NOT NULL DEFAULT '{}',
  archived bigint NOT NULL DEFAULT 0,
  archived_at timestamptz
);
INSERT INTO log_start DEFAULT VALUES;
-- All organisations stand in one row, so only the owner's functions read and write it.
ALTER TABLE log_start ENABLE ROW LEVEL SECURITY; ALTER TABLE log_start FORCE ROW LEVEL SECURITY;
CREATE POLICY log_start_owner ON log_start TO dac_owner USING (true) WITH CHECK (true);
CREATE TRIGGER log_start_stays BEFORE DELETE OR TRUNCATE ON log_start
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE FUNCTION refuse_earlier_start() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.idx < OLD.idx OR NEW.leaf_idx < OLD.leaf_idx OR NEW.archived < OLD.archived THEN
    RAISE EXCEPTION 'the start of the log only goes on' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER log_start_goes_on BEFORE UPDATE ON log_start FOR EACH ROW EXECUTE FUNCTION refuse_earlier_start();

-- What programs of before this migration ask, too: their answers go on from what is gone.
CREATE OR REPLACE FUNCTION log_packed() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT greatest((SELECT max(p.window_no) + 1 FROM log_packs p), (SELECT s.idx / 4096 FROM log_start s))
$$;
CREATE OR REPLACE FUNCTION log_last_seqs(of_orgs uuid[]) RETURNS TABLE (org_id uuid, org_seq bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT o, coalesce(greatest((SELECT max(e.org_seq) FROM log_entries e WHERE e.org_id = o),
    (SELECT max(p.last_seq) FROM log_packs p WHERE p.org_id = o)),
    (SELECT s.org_seqs[array_position(s.org_ids, o)] FROM log_start s), 0) FROM unnest(of_orgs) AS o
$$;
CREATE OR REPLACE FUNCTION log_all_seqs() RETURNS TABLE (org_id uuid, org_seq bigint)
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
  SELECT q.org_id, q.org_seq FROM log_last_seqs(ARRAY(
    SELECT f.org_id FROM fresh f WHERE f.org_id IS NOT NULL UNION SELECT o.org_id FROM old o WHERE o.org_id IS NOT NULL
    UNION SELECT unnest(s.org_ids) FROM log_start s
  )) q
$$;

CREATE FUNCTION log_started(OUT idx bigint, OUT archived bigint, OUT archived_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT s.idx, s.archived, s.archived_at FROM log_start s
$$;

-- The start with the leaf that declares it, and what that was made of; no row in a log that has all its entries.
CREATE FUNCTION log_start_leaf(OUT idx bigint, OUT leaf_idx bigint, OUT leaf bytea, OUT salt bytea, OUT org_ids uuid[],
  OUT org_seqs bigint[]) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT t.idx, t.leaf_idx, e.leaf, s.salt, t.org_ids, t.org_seqs FROM log_start t
    LEFT JOIN log_entries e ON e.idx = t.leaf_idx LEFT JOIN log_salts s ON s.idx = e.idx AND s.org_id = e.org_id
    WHERE t.idx > 0
$$;

CREATE FUNCTION log_note_archive(of_size bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
  UPDATE log_start s SET archived = greatest(s.archived, of_size), archived_at = clock_timestamp() RETURNING s.archived
$$;

-- The last number of every organisation that has an entry before a window's edge.
CREATE FUNCTION log_numbers_before(edge bigint) RETURNS TABLE (org_id uuid, org_seq bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT n.o, max(n.q) FROM (
    SELECT p.org_id, p.last_seq FROM log_packs p WHERE p.window_no < edge / 4096
    UNION ALL SELECT b.* FROM log_start s, unnest(s.org_ids, s.org_seqs) AS b) AS n(o, q)
  GROUP BY n.o ORDER BY n.o
$$;

-- Why the log may not begin with an entry yet; '' = it may. What is left of the entries before it: their packs, and with
-- their salts heads, starts, and audit's own word on what was removed and held, which go with them.
CREATE FUNCTION log_start_waits(new_idx bigint, needs_archive boolean) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE had log_start;
BEGIN
  SELECT * INTO had FROM log_start;
  IF new_idx % 4096 <> 0 OR new_idx <= had.idx OR new_idx > log_packed() * 4096 THEN
    RETURN 'packing';
  END IF;
  IF needs_archive AND had.archived < new_idx THEN
    RETURN 'archive';
  END IF;
  IF NOT EXISTS (SELECT FROM log_heads h JOIN log_entries e ON e.idx = h.idx AND e.kind = 3 WHERE h.idx >= new_idx) THEN
    RETURN 'heads';
  END IF;
  IF EXISTS (SELECT FROM holds h JOIN log_packs p ON p.org_id = h.org_id
      WHERE p.window_no >= had.idx / 4096 AND p.window_no < new_idx / 4096) THEN
    RETURN 'hold';
  END IF;
  IF EXISTS (SELECT FROM log_entries e LEFT JOIN changes c ON e.kind = 2 AND c.org_id = e.org_id
        AND c.record_id = e.record_id
      WHERE e.idx < new_idx AND e.kind NOT IN (3, 4) AND coalesce(c.action NOT LIKE 'audit.%', true))
      OR EXISTS (SELECT FROM log_salts s WHERE s.idx < new_idx
        AND NOT EXISTS (SELECT FROM log_entries e WHERE e.idx = s.idx AND e.org_id = s.org_id)) THEN
    RETURN 'payloads';
  END IF;
  RETURN '';
END $$;

-- Takes everything of the entries before an edge away; 'begun', or why not, and then nothing was. The leaf that declares
-- it is appended in the same transaction. Whoever sets a hold waits for it, or is seen.
CREATE FUNCTION log_begin(new_idx bigint, at_leaf bigint, of_orgs uuid[], seqs bigint[], needs_archive boolean)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE waits text;
BEGIN
  PERFORM FROM log_head FOR UPDATE;
  PERFORM FROM log_start FOR UPDATE;
  LOCK TABLE holds IN SHARE MODE;
  waits := log_start_waits(new_idx, needs_archive);
  IF waits <> '' THEN
    RETURN waits;
  END IF;
  IF (SELECT (array_agg(n.org_id ORDER BY n.org_id), array_agg(n.org_seq ORDER BY n.org_id))
      FROM log_numbers_before(new_idx) n) IS DISTINCT FROM (of_orgs, seqs) THEN
    RETURN 'packing';
  END IF;
  PERFORM set_config('audit.removing', 'on', true);
  DELETE FROM redactions r USING log_entries e
    WHERE e.idx < new_idx AND e.kind = 2 AND r.org_id = e.org_id AND r.record_id = e.record_id AND r.done_at IS NOT NULL;
  DELETE FROM changes c USING log_entries e
    WHERE e.idx < new_idx AND e.kind = 2 AND c.org_id = e.org_id AND c.record_id = e.record_id;
  DELETE FROM log_entries e WHERE e.idx < new_idx;
  DELETE FROM log_salts s WHERE s.idx < new_idx;
  DELETE FROM log_packs p WHERE p.window_no < new_idx / 4096;
  -- A tile goes when the one above it is full and holds its root: the edge of no tree needs it any more.
  DELETE FROM log_tiles t WHERE t.level = 0 AND t.number < new_idx / 65536 * 256;
  PERFORM set_config('audit.removing', '', true);
  UPDATE log_start SET idx = new_idx, leaf_idx = at_leaf, org_ids = of_orgs, org_seqs = seqs;
  RETURN 'begun';
END $$;

REVOKE ALL ON FUNCTION refuse_earlier_start(), log_started(), log_start_leaf(), log_note_archive(bigint),
  log_numbers_before(bigint), log_start_waits(bigint, boolean), log_begin(bigint, bigint, uuid[], bigint[], boolean)
  FROM PUBLIC;
