-- Several keys of a provider. Those for everybody belong to the installation, as providers do.
CREATE TABLE global_keys (
  key_id uuid PRIMARY KEY,
  provider text NOT NULL CHECK (provider ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  -- The one address the key may be sent to; part of what the ciphertext is bound to.
  base_url text NOT NULL,
  -- As in providers: by a data key of the row, which is sealed by a subkey of the master key named.
  sealed_key bytea NOT NULL,
  sealed_data_key bytea NOT NULL,
  master_key_id text NOT NULL,
  key_hint text NOT NULL,
  is_active boolean NOT NULL,
  weight integer NOT NULL CHECK (weight BETWEEN 1 AND 1000),
  request_id text NOT NULL,
  created_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX global_keys_request ON global_keys (request_id);

-- An organisation's own.
CREATE TABLE provider_keys (
  org_id uuid NOT NULL,
  key_id uuid NOT NULL,
  provider text NOT NULL CHECK (provider ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  base_url text NOT NULL,
  sealed_key bytea NOT NULL,
  sealed_data_key bytea NOT NULL,
  master_key_id text NOT NULL,
  key_hint text NOT NULL,
  is_active boolean NOT NULL,
  weight integer NOT NULL CHECK (weight BETWEEN 1 AND 1000),
  request_id text NOT NULL,
  created_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, key_id)
);
CREATE UNIQUE INDEX provider_keys_request ON provider_keys (org_id, request_id);
ALTER TABLE provider_keys ENABLE ROW LEVEL SECURITY; ALTER TABLE provider_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY provider_keys_org ON provider_keys USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY provider_keys_owner ON provider_keys TO dac_owner USING (true) WITH CHECK (true);

-- Counts an organisation's changes, so that a replica reads again only what changed. Never removed.
CREATE TABLE key_versions (
  org_id uuid PRIMARY KEY,
  version bigint NOT NULL
);
ALTER TABLE key_versions ENABLE ROW LEVEL SECURITY; ALTER TABLE key_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY key_versions_org ON key_versions USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY key_versions_owner ON key_versions TO dac_owner USING (true) WITH CHECK (true);

-- The two ways across organisations: who has keys, and whose are sealed by another master key than the present one.
CREATE FUNCTION key_organisations() RETURNS TABLE (org_id uuid, version bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = provider AS $$
  SELECT v.org_id, v.version FROM provider.key_versions v
$$;
CREATE FUNCTION stale_organisations(present text) RETURNS TABLE (org_id uuid, stale bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = provider AS $$
  SELECT k.org_id, count(*) FROM provider.provider_keys k WHERE k.master_key_id <> present GROUP BY k.org_id
$$;
