-- Records are handed out in the order of their transactions' ids, and consumers keep how far they have read. A restored
-- database may be in a server whose ids begin anew, far below: what was written there would be read by nobody. So its ids
-- count from where the backup's ended.
--
-- Beside the older program: it writes and reads by the same default and the same function.

CREATE TABLE record_clock (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  ahead bigint NOT NULL DEFAULT 0 -- What is added to this server's ids.
);
INSERT INTO record_clock DEFAULT VALUES;

CREATE OR REPLACE FUNCTION read_records(after_xid xid8, after_seq bigint, most integer)
RETURNS TABLE (xid xid8, seq bigint, record bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
  SELECT o.xid, o.seq, o.record FROM record_outbox o
  WHERE (o.xid, o.seq) > (after_xid, after_seq)
    AND o.xid < (SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + c.ahead)::text::xid8 FROM record_clock c)
  ORDER BY o.xid, o.seq LIMIT most
$$;

-- True: this server's ids were behind, and new records go on behind those that are there. To be called before any is written.
CREATE FUNCTION go_on_behind_records() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  newest bigint; here bigint; more bigint;
BEGIN
  FOR looked IN 1 .. 2 LOOP
    SELECT max(n.xid::text::bigint) INTO newest FROM (
      (SELECT o.xid FROM record_outbox o ORDER BY o.xid DESC, o.seq DESC LIMIT 1)
      UNION ALL SELECT c.xid FROM record_consumers c) AS n;
    SELECT pg_current_xact_id()::text::bigint + c.ahead INTO here FROM record_clock c;
    IF newest IS NULL OR newest < here THEN
      RETURN false;
    END IF;
    -- Another replica may do the same: what it did is seen at the second look.
    LOCK TABLE record_outbox IN ACCESS EXCLUSIVE MODE;
  END LOOP;
  UPDATE record_clock SET ahead = ahead + newest - here + 1 RETURNING ahead INTO more;
  EXECUTE format('ALTER TABLE record_outbox ALTER COLUMN xid SET DEFAULT (pg_current_xact_id()::text::bigint + %s)::text::xid8',
    more);
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION go_on_behind_records() FROM PUBLIC;
