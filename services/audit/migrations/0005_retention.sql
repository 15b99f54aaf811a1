-- What may go again: payloads (records and salts) that an entry of the log declared gone. Leaves stay.

-- Only the owner's own functions can take rows away, and only while they say so: a service's role is never the owner.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_user = 'dac_owner' AND current_setting('audit.removing', true) = 'on' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

-- A hold keeps everything of an organisation, or of one subject ('user:…', 'key:…', 'request:…'; '' = everything).
CREATE TABLE holds (
  org_id uuid NOT NULL,
  hold_id uuid NOT NULL,
  subject text NOT NULL,
  reason text NOT NULL,
  actor text NOT NULL,
  set_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, hold_id)
);
ALTER TABLE holds ENABLE ROW LEVEL SECURITY; ALTER TABLE holds FORCE ROW LEVEL SECURITY;
CREATE POLICY holds_org ON holds USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY holds_owner ON holds TO dac_owner USING (true) WITH CHECK (true);

-- What a change with this record_id declares gone; the lists are emptied when it is. subject: whom figures forget, too.
CREATE TABLE redactions (
  org_id uuid NOT NULL,
  record_id uuid NOT NULL,
  subject uuid,
  declared_at timestamptz NOT NULL,
  done_at timestamptz,
  request_ids uuid[] NOT NULL,
  change_ids uuid[] NOT NULL,
  idxs bigint[] NOT NULL,
  PRIMARY KEY (org_id, record_id)
);
CREATE INDEX redactions_open ON redactions (org_id) WHERE done_at IS NULL;
ALTER TABLE redactions ENABLE ROW LEVEL SECURITY; ALTER TABLE redactions FORCE ROW LEVEL SECURITY;
CREATE POLICY redactions_org ON redactions USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY redactions_owner ON redactions TO dac_owner USING (true) WITH CHECK (true);

-- Records that must not come back when they are delivered once more; kept for as long as that can happen.
CREATE TABLE removed (
  org_id uuid NOT NULL,
  kind smallint NOT NULL,
  record_id uuid NOT NULL,
  removed_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, kind, record_id)
);
ALTER TABLE removed ENABLE ROW LEVEL SECURITY; ALTER TABLE removed FORCE ROW LEVEL SECURITY;
-- The list of organisations is read once for each statement: every batch of requests looks here.
CREATE POLICY removed_org ON removed USING (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]))
  WITH CHECK (org_id = ANY ((SELECT string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[])::uuid[]));
CREATE POLICY removed_owner ON removed TO dac_owner USING (true) WITH CHECK (true);

-- Days whose figures hold more than the records that are left: they are not counted anew.
CREATE TABLE redacted_days (
  org_id uuid NOT NULL,
  day date NOT NULL,
  PRIMARY KEY (org_id, day)
);
ALTER TABLE redacted_days ENABLE ROW LEVEL SECURITY; ALTER TABLE redacted_days FORCE ROW LEVEL SECURITY;
CREATE POLICY redacted_days_org ON redacted_days USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY redacted_days_owner ON redacted_days TO dac_owner USING (true) WITH CHECK (true);

CREATE FUNCTION is_uncounted(of_org uuid, of_request uuid, started timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM uncounted u WHERE u.org_id = of_org AND u.request_id = of_request)
    OR EXISTS (SELECT FROM recounts d WHERE d.org_id = of_org AND d.day = (started AT TIME ZONE 'UTC')::date)
$$;

-- In figures a subject becomes a number that nobody knows: sums stay, and so does the difference between callers.
CREATE FUNCTION forget_in_figures(of_org uuid, gone uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE key text := gen_random_uuid()::text || gen_random_uuid()::text;
BEGIN
  UPDATE rollup_minutes t SET cell = md5(t.cell || key)::uuid,
      key_id = CASE WHEN gone IN (t.key_id, t.user_id) THEN md5(t.key_id || key)::uuid ELSE t.key_id END,
      user_id = CASE WHEN t.user_id = gone THEN md5(t.user_id || key)::uuid ELSE t.user_id END,
      owner = CASE WHEN t.owner = gone THEN md5(t.owner || key)::uuid ELSE t.owner END
    WHERE t.org_id = of_org AND t.kind IN (2, 3) AND gone IN (t.user_id, t.key_id);
  UPDATE rollup_hours t SET cell = md5(t.cell || key)::uuid,
      key_id = CASE WHEN gone IN (t.key_id, t.user_id) THEN md5(t.key_id || key)::uuid ELSE t.key_id END,
      user_id = CASE WHEN t.user_id = gone THEN md5(t.user_id || key)::uuid ELSE t.user_id END,
      owner = CASE WHEN t.owner = gone THEN md5(t.owner || key)::uuid ELSE t.owner END
    WHERE t.org_id = of_org AND t.kind IN (2, 3) AND gone IN (t.user_id, t.key_id);
  UPDATE rollup_days t SET cell = md5(t.cell || key)::uuid,
      key_id = CASE WHEN gone IN (t.key_id, t.user_id) THEN md5(t.key_id || key)::uuid ELSE t.key_id END,
      user_id = CASE WHEN t.user_id = gone THEN md5(t.user_id || key)::uuid ELSE t.user_id END,
      owner = CASE WHEN t.owner = gone THEN md5(t.owner || key)::uuid ELSE t.owner END
    WHERE t.org_id = of_org AND t.kind IN (2, 3) AND gone IN (t.user_id, t.key_id);
  UPDATE thread_days t SET owner = md5(t.owner || key)::uuid, thread_id = md5(t.thread_id || key)
    WHERE t.org_id = of_org AND t.owner = gone;
END $$;

-- Takes away what a change declared, once that change stands in the log; again and again until it says 'done'. A hold
-- that was set after the declaration keeps it waiting.
CREATE FUNCTION remove_declared(of_org uuid, declaration uuid) RETURNS text
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
  END IF;
  UPDATE redactions r SET done_at = now(), request_ids = '{}', change_ids = '{}', idxs = '{}'
    WHERE r.org_id = of_org AND r.record_id = declaration;
  RETURN 'done';
END $$;

-- The doors across organisations: what is declared and still there, and who has payloads that are too old.
CREATE FUNCTION open_redactions() RETURNS TABLE (org_id uuid, record_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT r.org_id, r.record_id FROM redactions r WHERE r.done_at IS NULL ORDER BY r.declared_at
$$;
CREATE FUNCTION organisations_to_prune(requests_before timestamptz, changes_before timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  WITH RECURSIVE asked (org_id) AS (
    (SELECT r.org_id FROM requests r ORDER BY r.org_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.org_id FROM requests r WHERE r.org_id > a.org_id ORDER BY r.org_id LIMIT 1)
      FROM asked a WHERE a.org_id IS NOT NULL),
  changed (org_id) AS (
    (SELECT c.org_id FROM changes c ORDER BY c.org_id LIMIT 1)
    UNION ALL
    SELECT (SELECT c.org_id FROM changes c WHERE c.org_id > a.org_id ORDER BY c.org_id LIMIT 1)
      FROM changed a WHERE a.org_id IS NOT NULL)
  SELECT a.org_id FROM asked a WHERE EXISTS
    (SELECT FROM requests r WHERE r.org_id = a.org_id AND r.started_at < requests_before)
  UNION
  SELECT a.org_id FROM changed a WHERE EXISTS
    (SELECT FROM changes c WHERE c.org_id = a.org_id AND c.at < changes_before)
$$;
-- Whether records went that no entry before a place in the log declares: then a reader of that log begins again.
CREATE FUNCTION removed_since(change_position bigint, of_org uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT EXISTS (SELECT FROM changes c JOIN redactions r ON r.org_id = c.org_id AND r.record_id = c.record_id
    WHERE c.position > change_position AND (of_org IS NULL OR c.org_id = of_org) AND r.done_at IS NOT NULL)
$$;
CREATE FUNCTION forget_removed(before timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
  DELETE FROM removed r WHERE r.removed_at < before
$$;

REVOKE ALL ON FUNCTION forget_in_figures(uuid, uuid), remove_declared(uuid, uuid), open_redactions(),
  organisations_to_prune(timestamptz, timestamptz), removed_since(bigint, uuid), forget_removed(timestamptz) FROM PUBLIC;
