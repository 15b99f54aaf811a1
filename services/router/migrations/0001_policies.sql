-- Routing policies made through the API. The organisation of zeros holds the installation's own: everybody's.
CREATE TABLE policies (
  org_id uuid NOT NULL,
  name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  version bigint NOT NULL CHECK (version > 0),
  -- What was written, as JSON.
  document text NOT NULL,
  -- The caller's, so that the same creation again makes nothing new; empty = none.
  request_id text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, name)
);
CREATE UNIQUE INDEX policies_request ON policies (org_id, request_id) WHERE request_id <> '';
ALTER TABLE policies ENABLE ROW LEVEL SECURITY; ALTER TABLE policies FORCE ROW LEVEL SECURITY;
CREATE POLICY policies_org ON policies USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY policies_owner ON policies TO dac_owner USING (true) WITH CHECK (true);

-- Every state that a policy was ever in; they outlive it, and one made anew under its name counts on.
CREATE TABLE policy_versions (
  org_id uuid NOT NULL,
  name text NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  -- create, update, rollback or delete.
  action text NOT NULL CHECK (action IN ('create', 'update', 'rollback', 'delete')),
  -- Empty where it was deleted.
  document text NOT NULL,
  actor text NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (org_id, name, version)
);
ALTER TABLE policy_versions ENABLE ROW LEVEL SECURITY; ALTER TABLE policy_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_versions_org ON policy_versions USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY policy_versions_owner ON policy_versions TO dac_owner USING (true) WITH CHECK (true);

-- Which policy is for which level. The name may be an own policy's, everybody's, or one of a file.
CREATE TABLE policy_assignments (
  org_id uuid NOT NULL,
  -- As dac.type.v1.Level.Kind.
  level_kind smallint NOT NULL CHECK (level_kind BETWEEN 1 AND 5),
  level_id uuid NOT NULL,
  policy text NOT NULL,
  changed_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, level_id)
);
ALTER TABLE policy_assignments ENABLE ROW LEVEL SECURITY; ALTER TABLE policy_assignments FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_assignments_org ON policy_assignments USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY policy_assignments_owner ON policy_assignments TO dac_owner USING (true) WITH CHECK (true);

-- What the operator says of an organisation; its administrators cannot change it.
CREATE TABLE tenant_rules (
  org_id uuid NOT NULL,
  policy text NOT NULL DEFAULT '',
  routing_mode text NOT NULL DEFAULT '',
  allowed_models text[] NOT NULL DEFAULT '{}',
  regions text[] NOT NULL DEFAULT '{}',
  changed_at timestamptz NOT NULL,
  PRIMARY KEY (org_id)
);
ALTER TABLE tenant_rules ENABLE ROW LEVEL SECURITY; ALTER TABLE tenant_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_rules_org ON tenant_rules USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY tenant_rules_owner ON tenant_rules TO dac_owner USING (true) WITH CHECK (true);

-- The organisations as the gateway last named them: a file of tenants may say a name.
CREATE TABLE organisations (
  org_id uuid NOT NULL,
  name text NOT NULL,
  PRIMARY KEY (org_id)
);
ALTER TABLE organisations ENABLE ROW LEVEL SECURITY; ALTER TABLE organisations FORCE ROW LEVEL SECURITY;
CREATE POLICY organisations_org ON organisations USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY organisations_owner ON organisations TO dac_owner USING (true) WITH CHECK (true);

-- Counts an organisation's changes, so that a replica reads again only what changed. Never removed.
CREATE TABLE policy_counts (
  org_id uuid NOT NULL,
  changes bigint NOT NULL,
  PRIMARY KEY (org_id)
);
ALTER TABLE policy_counts ENABLE ROW LEVEL SECURITY; ALTER TABLE policy_counts FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_counts_org ON policy_counts USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY policy_counts_owner ON policy_counts TO dac_owner USING (true) WITH CHECK (true);

-- Changes on their way to audit, written in the transaction of the change.
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

-- The ways across organisations: what they are called, who has something to read, who has something to tell, and how
-- many levels stand under a policy of everybody's.
CREATE FUNCTION organisation_names() RETURNS TABLE (org_id uuid, name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = router AS $$
  SELECT o.org_id, o.name FROM router.organisations o
$$;
CREATE FUNCTION policy_organisations() RETURNS TABLE (org_id uuid, changes bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = router AS $$
  SELECT c.org_id, c.changes FROM router.policy_counts c
$$;
CREATE FUNCTION untold_organisations() RETURNS TABLE (org_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = router AS $$
  SELECT DISTINCT a.org_id FROM router.admin_outbox a
$$;
CREATE FUNCTION shared_policy_uses(wanted text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = router AS $$
  SELECT (SELECT count(*) FROM router.tenant_rules t WHERE t.policy = wanted)
    + (SELECT count(*) FROM router.policy_assignments a WHERE a.policy = wanted
       AND NOT EXISTS (SELECT FROM router.policies p WHERE p.org_id = a.org_id AND p.name = wanted))
$$;
