-- Every state of what the operator said of an organisation; what is in force stands in tenant_rules.
CREATE TABLE tenant_versions (
  org_id uuid NOT NULL,
  version bigint NOT NULL CHECK (version > 0),
  action text NOT NULL CHECK (action IN ('set', 'rollback', 'remove')),
  -- What was said, as JSON; {} = nothing any more.
  document text NOT NULL,
  actor text NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (org_id, version)
);
ALTER TABLE tenant_versions ENABLE ROW LEVEL SECURITY; ALTER TABLE tenant_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_versions_org ON tenant_versions USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY tenant_versions_owner ON tenant_versions TO dac_owner USING (true) WITH CHECK (true);

-- What stands there already is the first version of each.
INSERT INTO tenant_versions (org_id, version, action, document, actor, at)
  SELECT org_id, 1, 'set', json_build_object('policy', policy, 'routing_mode', routing_mode,
    'allowed_models', allowed_models, 'regions', regions)::text, 'service:router', changed_at FROM tenant_rules;
