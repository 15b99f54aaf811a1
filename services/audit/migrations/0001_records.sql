-- The append-only record of requests and administrative changes.

-- position is ascending in commit order: only the leader of the follower inserts.
CREATE TABLE requests (
  org_id uuid NOT NULL,
  request_id uuid NOT NULL,
  position bigint GENERATED ALWAYS AS IDENTITY,
  started_at timestamptz NOT NULL,
  model text NOT NULL,
  outcome smallint NOT NULL,
  cost_nano_usd bigint NOT NULL,
  record bytea NOT NULL,
  PRIMARY KEY (org_id, request_id)
);
CREATE INDEX requests_newest ON requests (org_id, started_at DESC, request_id DESC);
CREATE INDEX requests_arrival ON requests (org_id, position);
ALTER TABLE requests ENABLE ROW LEVEL SECURITY; ALTER TABLE requests FORCE ROW LEVEL SECURITY;
CREATE POLICY requests_org ON requests USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

CREATE TABLE changes (
  org_id uuid NOT NULL,
  record_id uuid NOT NULL,
  at timestamptz NOT NULL,
  record bytea NOT NULL,
  PRIMARY KEY (org_id, record_id)
);
CREATE INDEX changes_newest ON changes (org_id, at DESC, record_id DESC);
ALTER TABLE changes ENABLE ROW LEVEL SECURITY; ALTER TABLE changes FORCE ROW LEVEL SECURITY;
CREATE POLICY changes_org ON changes USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));

CREATE TABLE cursors (
  consumer text PRIMARY KEY,
  cursor text NOT NULL
) WITH (fillfactor = 50);

-- Grants come after each migration, so append-only is held by a trigger, which they cannot lift.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER requests_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON requests
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER changes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON changes
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
