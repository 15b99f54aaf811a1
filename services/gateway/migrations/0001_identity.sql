-- Who may come in: organisations and their API keys; what changed, until audit has it.

CREATE TABLE organisations (
  org_id uuid PRIMARY KEY,
  name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  created_at timestamptz NOT NULL
);
ALTER TABLE organisations ENABLE ROW LEVEL SECURITY; ALTER TABLE organisations FORCE ROW LEVEL SECURITY;
CREATE POLICY organisations_org ON organisations USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY organisations_owner ON organisations TO dac_owner USING (true) WITH CHECK (true);

-- Names are unique across organisations, so they stand in a table of their own that tells nothing else.
CREATE TABLE organisation_names (
  name text PRIMARY KEY,
  taken_at timestamptz NOT NULL
);

CREATE TABLE api_keys (
  org_id uuid NOT NULL,
  key_id uuid NOT NULL,
  lookup_id text NOT NULL,
  name text NOT NULL,
  prefix text NOT NULL,
  hash bytea NOT NULL,
  scopes text[] NOT NULL,
  models text[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz,
  PRIMARY KEY (org_id, key_id)
);
CREATE INDEX api_keys_lookup ON api_keys (lookup_id);
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY; ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY api_keys_org ON api_keys USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY api_keys_owner ON api_keys TO dac_owner USING (true) WITH CHECK (true);

CREATE TABLE admin_outbox (
  org_id uuid NOT NULL,
  record_id uuid NOT NULL,
  record bytea NOT NULL,
  PRIMARY KEY (org_id, record_id)
);
ALTER TABLE admin_outbox ENABLE ROW LEVEL SECURITY; ALTER TABLE admin_outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY admin_outbox_org ON admin_outbox USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY admin_outbox_owner ON admin_outbox TO dac_owner USING (true) WITH CHECK (true);

-- Grows with every change of a key: what a replica remembers counts only for the epoch it was read in.
CREATE TABLE key_epoch (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  epoch bigint NOT NULL
);
INSERT INTO key_epoch (epoch) VALUES (1);

CREATE FUNCTION bump_key_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE key_epoch SET epoch = epoch + 1;
  PERFORM pg_notify('dac_keys', '');
  RETURN NULL;
END $$;
CREATE TRIGGER api_keys_epoch AFTER INSERT OR UPDATE OR DELETE ON api_keys
  FOR EACH STATEMENT EXECUTE FUNCTION bump_key_epoch();

-- Which master key this database's hashes were made with.
CREATE TABLE key_check (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  master_key_id text NOT NULL
);

-- The one way to a key before its organisation is known.
CREATE FUNCTION find_key(wanted text) RETURNS TABLE (
  org_id uuid, key_id uuid, hash bytea, scopes text[], models text[], expires_at timestamptz, revoked_at timestamptz
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = gateway AS $$
  SELECT org_id, key_id, hash, scopes, models, expires_at, revoked_at FROM gateway.api_keys WHERE lookup_id = wanted
$$;

-- The one way across organisations: all of them, for the operator and for delivering changes.
CREATE FUNCTION list_organisations() RETURNS TABLE (org_id uuid, name text, created_at timestamptz, has_changes boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = gateway AS $$
  SELECT o.org_id, o.name, o.created_at, EXISTS (SELECT FROM gateway.admin_outbox a WHERE a.org_id = o.org_id)
  FROM gateway.organisations o ORDER BY o.created_at, o.org_id
$$;
