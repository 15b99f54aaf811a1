-- What is under way in all organisations, as figures only: what operators watch.

CREATE FUNCTION backlog() RETURNS TABLE (open_reservations bigint, reserved_nano_usd numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT count(*), coalesce(sum(r.amount), 0) FROM reservations r WHERE r.state = 0
$$;

-- How many records a consumer has not read, counted up to `most`.
CREATE FUNCTION unread_records(after_xid xid8, after_seq bigint, most integer) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
  SELECT count(*) FROM (
    SELECT 1 FROM record_outbox o WHERE (o.xid, o.seq) > (after_xid, after_seq) ORDER BY o.xid, o.seq LIMIT most) AS u
$$;

REVOKE ALL ON FUNCTION backlog(), unread_records(xid8, bigint, integer) FROM PUBLIC;
