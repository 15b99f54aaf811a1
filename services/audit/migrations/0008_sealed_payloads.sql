-- Payloads at rest: the keys that seal them, and what has to know of sealed ones.

-- Since when there may be sealed payloads. A program that cannot open them must not write leaves of them.
CREATE TABLE payload_sealing (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  since timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- An organisation's key wraps the keys of its subjects; a subkey of the master key wraps it. `destroyed` counts the keys of
-- subjects that were: whoever stores what one seals holds this row, and looks whether it is the number he knows.
CREATE TABLE payload_org_keys (
  org_id uuid PRIMARY KEY,
  wrapped_key bytea NOT NULL,
  master_key_id text NOT NULL,
  destroyed bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE payload_org_keys ENABLE ROW LEVEL SECURITY; ALTER TABLE payload_org_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY payload_org_keys_org ON payload_org_keys USING (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]))
  WITH CHECK (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]));
CREATE POLICY payload_org_keys_owner ON payload_org_keys TO dac_owner USING (true) WITH CHECK (true);

-- subject: 'user:…', 'key:…', or '' for what concerns neither. wrapped_key is empty when the key is destroyed.
CREATE TABLE payload_keys (
  org_id uuid NOT NULL,
  key_id uuid NOT NULL,
  subject text NOT NULL,
  wrapped_key bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  destroyed_at timestamptz,
  PRIMARY KEY (org_id, key_id),
  CHECK ((destroyed_at IS NULL) = (octet_length(wrapped_key) > 0))
);
CREATE UNIQUE INDEX payload_keys_subject ON payload_keys (org_id, subject) WHERE destroyed_at IS NULL;
ALTER TABLE payload_keys ENABLE ROW LEVEL SECURITY; ALTER TABLE payload_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY payload_keys_org ON payload_keys USING (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]))
  WITH CHECK (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]));
CREATE POLICY payload_keys_owner ON payload_keys TO dac_owner USING (true) WITH CHECK (true);

-- The door across organisations: whose keys an earlier master key wraps.
CREATE FUNCTION stale_payload_keys(present text) RETURNS TABLE (org_id uuid, stale bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT k.org_id, 1::bigint FROM payload_org_keys k WHERE k.master_key_id <> present ORDER BY k.org_id
$$;

-- What the filters of changes look at: of a sealed record the open part of its head, which the seal binds.
-- The head: two bytes of form, the number of key ids, these, the length of the open part in two bytes, the open part.
CREATE OR REPLACE FUNCTION change_field(record bytea, wanted integer) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  body bytea := record;
  at integer := 0; tag integer; value integer; shift integer; part integer; found bytea := '';
BEGIN
  IF length(body) > 3 AND get_byte(body, 0) = 0 THEN
    at := 3 + 16 * get_byte(body, 2);
    body := substring(record FROM at + 3 FOR 256 * get_byte(record, at) + get_byte(record, at + 1));
    at := 0;
  END IF;
  WHILE at < coalesce(length(body), 0) LOOP
    tag := get_byte(body, at);
    IF tag > 127 OR tag & 7 NOT IN (0, 2) THEN RETURN ''; END IF;
    value := 0; shift := 0;
    LOOP
      at := at + 1;
      part := get_byte(body, at);
      IF shift < 28 THEN value := value | ((part & 127) << shift); END IF;
      shift := shift + 7;
      EXIT WHEN part < 128;
    END LOOP;
    at := at + 1;
    IF tag & 7 = 2 THEN
      IF at + value > length(body) THEN RETURN ''; END IF;
      IF tag >> 3 = wanted THEN found := substring(body FROM at + 1 FOR value); END IF;
      at := at + value;
    END IF;
  END LOOP;
  RETURN left(convert_from(found, 'UTF8'), 256);
EXCEPTION WHEN OTHERS THEN
  RETURN '';
END $$;

-- As log_take, for programs that open sealed records.
CREATE FUNCTION log_next(after_request bigint, after_change bigint, most integer)
RETURNS TABLE (kind smallint, pos bigint, org_id text, record_id text, record bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
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

-- What programs of before this migration ask: a leaf commits to the plain record, and they would commit to a sealed one.
CREATE OR REPLACE FUNCTION log_take(after_request bigint, after_change bigint, most integer)
RETURNS TABLE (kind smallint, pos bigint, org_id text, record_id text, record bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  IF EXISTS (SELECT FROM payload_sealing) THEN
    RAISE EXCEPTION 'records are sealed, which this version of dac cannot open: a newer one has to write the log'
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  RETURN QUERY SELECT * FROM log_next(after_request, after_change, most);
END $$;

-- Whether a record that is still there needs a key to be opened.
CREATE FUNCTION payload_key_in_use(of_org uuid, of_key uuid) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT EXISTS (SELECT FROM requests r WHERE r.org_id = of_org AND substring(r.record FROM 1 FOR 1) = '\x00'
      AND position(uuid_send(of_key) IN substring(r.record FROM 4 FOR 128)) > 0)
    OR EXISTS (SELECT FROM changes c WHERE c.org_id = of_org AND substring(c.record FROM 1 FOR 1) = '\x00'
      AND position(uuid_send(of_key) IN substring(c.record FROM 4 FOR 128)) > 0)
$$;

-- Destroys the keys of a user or key of whom nothing is left. Whoever is storing sealed records of the organisation is
-- waited for, and seen.
CREATE FUNCTION destroy_payload_keys(of_org uuid, gone uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE one uuid; done integer := 0;
BEGIN
  PERFORM FROM payload_org_keys o WHERE o.org_id = of_org FOR UPDATE;
  FOR one IN SELECT k.key_id FROM payload_keys k WHERE k.org_id = of_org AND k.destroyed_at IS NULL
      AND k.subject IN ('user:' || gone, 'key:' || gone) LOOP
    IF NOT payload_key_in_use(of_org, one) THEN
      UPDATE payload_keys k SET wrapped_key = '', destroyed_at = clock_timestamp()
        WHERE k.org_id = of_org AND k.key_id = one;
      UPDATE payload_org_keys o SET destroyed = o.destroyed + 1 WHERE o.org_id = of_org;
      done := done + 1;
    END IF;
  END LOOP;
  RETURN done;
END $$;

-- As before, and in the same transaction the subject's keys, if nothing needs them any more.
CREATE OR REPLACE FUNCTION remove_declared(of_org uuid, declaration uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE it redactions;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('dac.audit.retention'), hashtext(of_org::text));
  SELECT * INTO it FROM redactions r WHERE r.org_id = of_org AND r.record_id = declaration AND r.done_at IS NULL FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'done';
  END IF;
  IF NOT EXISTS (SELECT FROM changes c, log_head h
      WHERE c.org_id = of_org AND c.record_id = declaration AND c.position <= h.change_position) THEN
    RETURN 'unlogged';
  END IF;
  IF EXISTS (SELECT FROM holds h WHERE h.org_id = of_org AND h.set_at > it.declared_at) THEN
    RETURN 'held';
  END IF;
  -- The lock of whoever counts: a day that is counted anew at this moment counts with the records, or not at all.
  PERFORM pg_advisory_xact_lock(hashtext('dac.audit.rollups'), hashtext(of_org::text));
  INSERT INTO redacted_days (org_id, day)
    SELECT DISTINCT r.org_id, (r.started_at AT TIME ZONE 'UTC')::date FROM requests r
    WHERE r.org_id = of_org AND r.request_id = ANY (it.request_ids) ON CONFLICT DO NOTHING;
  INSERT INTO removed (org_id, kind, record_id, removed_at)
    SELECT of_org, 1, id, now() FROM unnest(it.request_ids) AS id
    UNION ALL SELECT of_org, 2, id, now() FROM unnest(it.change_ids) AS id ON CONFLICT DO NOTHING;
  PERFORM set_config('audit.removing', 'on', true);
  DELETE FROM requests r WHERE r.org_id = of_org AND r.request_id = ANY (it.request_ids);
  DELETE FROM changes c WHERE c.org_id = of_org AND c.record_id = ANY (it.change_ids);
  DELETE FROM log_salts s WHERE s.org_id = of_org AND s.idx = ANY (it.idxs);
  PERFORM set_config('audit.removing', '', true);
  IF it.subject IS NOT NULL THEN
    PERFORM forget_in_figures(of_org, it.subject);
    PERFORM destroy_payload_keys(of_org, it.subject);
  END IF;
  UPDATE redactions r SET done_at = now(), request_ids = '{}', change_ids = '{}', idxs = '{}'
    WHERE r.org_id = of_org AND r.record_id = declaration;
  RETURN 'done';
END $$;

REVOKE ALL ON FUNCTION stale_payload_keys(text), log_next(bigint, bigint, integer), payload_key_in_use(uuid, uuid),
  destroy_payload_keys(uuid, uuid) FROM PUBLIC;
