-- The log that proves itself: a leaf for each request and each change, in one Merkle tree.

-- What the sequencer reads in order: position is given out inside the lock that hold_positions takes, so whoever has
-- that lock alone knows that no smaller position is still to come.
CREATE INDEX IF NOT EXISTS requests_position ON requests (position);
ALTER TABLE changes ADD COLUMN position bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX changes_position ON changes (position);
CREATE FUNCTION hold_positions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtext('dac.audit.positions'));
  RETURN NULL;
END $$;
CREATE TRIGGER requests_positions BEFORE INSERT ON requests FOR EACH STATEMENT EXECUTE FUNCTION hold_positions();
CREATE TRIGGER changes_positions BEFORE INSERT ON changes FOR EACH STATEMENT EXECUTE FUNCTION hold_positions();
CREATE POLICY requests_log ON requests TO dac_owner USING (true) WITH CHECK (true);
CREATE POLICY changes_log ON changes TO dac_owner USING (true) WITH CHECK (true);

-- kind: 1 = request, 2 = change.
CREATE TABLE log_entries (
  idx bigint NOT NULL,
  org_id uuid NOT NULL,
  org_seq bigint NOT NULL,
  kind smallint NOT NULL,
  record_id uuid NOT NULL,
  position bigint NOT NULL,
  leaf bytea NOT NULL,
  PRIMARY KEY (idx, org_id),
  UNIQUE (org_id, org_seq),
  UNIQUE (org_id, record_id, kind)
);
ALTER TABLE log_entries ENABLE ROW LEVEL SECURITY; ALTER TABLE log_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY log_entries_org ON log_entries USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY log_entries_owner ON log_entries TO dac_owner USING (true) WITH CHECK (true);

-- Apart from the leaves: without its salt a commitment says nothing of what it was made of.
CREATE TABLE log_salts (
  idx bigint NOT NULL,
  org_id uuid NOT NULL,
  salt bytea NOT NULL,
  PRIMARY KEY (idx, org_id)
);
ALTER TABLE log_salts ENABLE ROW LEVEL SECURITY; ALTER TABLE log_salts FORCE ROW LEVEL SECURITY;
CREATE POLICY log_salts_org ON log_salts USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY log_salts_owner ON log_salts TO dac_owner USING (true) WITH CHECK (true);

-- Full tiles of 256 hashes; what is at the right edge is computed from leaves and from roots of the level below.
CREATE TABLE log_tiles (
  level smallint NOT NULL,
  number bigint NOT NULL,
  root bytea NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (level, number)
);

CREATE TABLE log_head (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  verifier_key text NOT NULL DEFAULT '',
  size bigint NOT NULL DEFAULT 0,
  root bytea NOT NULL DEFAULT sha256(''),
  checkpoint text NOT NULL DEFAULT '',
  request_position bigint NOT NULL DEFAULT 0,
  change_position bigint NOT NULL DEFAULT 0,
  epoch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
INSERT INTO log_head DEFAULT VALUES;

CREATE TRIGGER log_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_entries
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_salts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_salts
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_tiles_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_tiles
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_head_stays BEFORE DELETE OR TRUNCATE ON log_head
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE FUNCTION refuse_going_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.size < OLD.size OR NEW.epoch < OLD.epoch OR NEW.request_position < OLD.request_position
      OR NEW.change_position < OLD.change_position OR (NEW.size = OLD.size AND NEW.root <> OLD.root)
      OR (OLD.verifier_key <> '' AND NEW.verifier_key <> OLD.verifier_key) THEN
    RAISE EXCEPTION 'the log only grows' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER log_head_grows BEFORE UPDATE ON log_head FOR EACH ROW EXECUTE FUNCTION refuse_going_back();

-- The positions up to which nothing is still to come.
CREATE FUNCTION log_settled(OUT request_position bigint, OUT change_position bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('dac.audit.positions'));
  SELECT coalesce(max(r.position), 0) INTO request_position FROM requests r;
  SELECT coalesce(max(c.position), 0) INTO change_position FROM changes c;
END $$;

CREATE FUNCTION log_waiting(after_request bigint, last_request bigint, after_change bigint, last_change bigint, most integer)
RETURNS TABLE (kind smallint, pos bigint, org_id uuid, record_id uuid, record bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  (SELECT 2::smallint, c.position, c.org_id, c.record_id, c.record FROM changes c
    WHERE c.position > after_change AND c.position <= last_change ORDER BY c.position LIMIT most)
  UNION ALL
  (SELECT 1::smallint, r.position, r.org_id, r.request_id, r.record FROM requests r
    WHERE r.position > after_request AND r.position <= last_request ORDER BY r.position LIMIT most)
$$;

CREATE FUNCTION log_last_seqs(of_orgs uuid[]) RETURNS TABLE (org_id uuid, org_seq bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT o, coalesce((SELECT max(e.org_seq) FROM log_entries e WHERE e.org_id = o), 0) FROM unnest(of_orgs) AS o
$$;

-- One statement, one transaction: leaves, salts, tiles and the signed head. 'deposed' or 'behind' = nothing was written.
CREATE FUNCTION log_append(
  held_epoch bigint, old_size bigint, old_root bytea, new_root bytea, signed text, last_request bigint, last_change bigint,
  org_ids uuid[], org_seqs bigint[], kinds smallint[], record_ids uuid[], positions bigint[], leaves bytea[],
  salts bytea[],  tile_levels smallint[], tile_numbers bigint[], tile_roots bytea[], tile_hashes bytea[]
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE held log_head;
BEGIN
  SELECT * INTO held FROM log_head FOR UPDATE;
  IF held.epoch <> held_epoch THEN RETURN 'deposed'; END IF;
  IF held.size <> old_size OR held.root <> old_root THEN RETURN 'behind'; END IF;
  INSERT INTO log_entries (idx, org_id, org_seq, kind, record_id, position, leaf)
    SELECT old_size + u.n - 1, u.o, u.s, u.k, u.r, u.p, u.l
    FROM unnest(org_ids, org_seqs, kinds, record_ids, positions, leaves) WITH ORDINALITY AS u(o, s, k, r, p, l, n);
  INSERT INTO log_salts (idx, org_id, salt)
    SELECT old_size + u.n - 1, u.o, u.s FROM unnest(org_ids, salts) WITH ORDINALITY AS u(o, s, n);
  INSERT INTO log_tiles (level, number, root, hashes)
    SELECT * FROM unnest(tile_levels, tile_numbers, tile_roots, tile_hashes);
  UPDATE log_head SET size = old_size + cardinality(org_ids), root = new_root, checkpoint = signed,
    request_position = last_request, change_position = last_change;
  RETURN 'appended';
END $$;

-- Everything of a stretch of the log, with the rows that its leaves are about, as frames (mesh/tlog/frames.py): put
-- together here, where it costs a third of what it costs behind a driver. -1 = there is no such row.
CREATE FUNCTION log_read(first_idx bigint, end_idx bigint) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET max_parallel_workers_per_gather = 0 SET jit = off AS $$
  SELECT coalesce(string_agg('E'::bytea || int2send(f.kind) || int8send(f.idx) || int4send(length(f.leaf))
    || int4send(coalesce(length(f.salt), 0)) || f.leaf || coalesce(f.salt, '')
    || coalesce(f.stored, int8send(0) || int8send(0) || int2send(0::int2) || int4send(0) || int4send(-1)), ''), '')
  FROM (SELECT e.kind, e.idx, e.leaf, s.salt, CASE e.kind
      WHEN 1 THEN (SELECT timestamptz_send(r.started_at) || int8send(r.cost_nano_usd) || int2send(r.outcome)
          || int4send(octet_length(r.model)) || int4send(length(r.record)) || textsend(r.model) || r.record
        FROM requests r WHERE r.position = e.position AND r.org_id = e.org_id AND r.request_id = e.record_id)
      ELSE (SELECT timestamptz_send(c.at) || int8send(0) || int2send(0::int2)
          || int4send(0) || int4send(length(c.record)) || c.record
        FROM changes c WHERE c.org_id = e.org_id AND c.record_id = e.record_id) END AS stored
    FROM log_entries e LEFT JOIN log_salts s ON s.idx = e.idx AND s.org_id = e.org_id
    WHERE e.idx >= first_idx AND e.idx < end_idx ORDER BY e.idx) AS f
$$;

-- The leaves of a bundle; hashes of them are what the partial tile at the right edge is made of.
CREATE FUNCTION log_leaves(first_idx bigint, end_idx bigint) RETURNS TABLE (leaf bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
  SELECT e.leaf FROM log_entries e WHERE e.idx >= first_idx AND e.idx < end_idx ORDER BY e.idx
$$;

-- How many rows the log should have taken up: one that was slipped in behind its back has no leaf.
CREATE FUNCTION log_counts(last_request bigint, last_change bigint, OUT requests bigint, OUT changes bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT (SELECT count(*) FROM requests r WHERE r.position <= last_request),
    (SELECT count(*) FROM changes c WHERE c.position <= last_change)
$$;

REVOKE ALL ON FUNCTION hold_positions(), refuse_going_back(), log_settled(),
  log_waiting(bigint, bigint, bigint, bigint, integer), log_last_seqs(uuid[]),
  log_append(bigint, bigint, bytea, bytea, text, bigint, bigint, uuid[], bigint[], smallint[], uuid[], bigint[], bytea[],
    bytea[], smallint[], bigint[], bytea[], bytea[]),
  log_read(bigint, bigint), log_leaves(bigint, bigint), log_counts(bigint, bigint) FROM PUBLIC;
