-- Where a key stands below its organisation: teams within teams, projects, users. Money and rates are limited by level.

CREATE TABLE teams (
  org_id uuid NOT NULL,
  team_id uuid NOT NULL,
  parent_team_id uuid,
  name text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, team_id),
  CONSTRAINT teams_name UNIQUE (org_id, name),
  CHECK (parent_team_id <> team_id),
  FOREIGN KEY (org_id, parent_team_id) REFERENCES teams (org_id, team_id)
);
CREATE INDEX teams_parent ON teams (org_id, parent_team_id);
ALTER TABLE teams ENABLE ROW LEVEL SECURITY; ALTER TABLE teams FORCE ROW LEVEL SECURITY;
CREATE POLICY teams_org ON teams USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY teams_owner ON teams TO dac_owner USING (true) WITH CHECK (true);

CREATE TABLE projects (
  org_id uuid NOT NULL,
  project_id uuid NOT NULL,
  team_id uuid,
  name text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, project_id),
  CONSTRAINT projects_name UNIQUE (org_id, name),
  FOREIGN KEY (org_id, team_id) REFERENCES teams (org_id, team_id)
);
CREATE INDEX projects_team ON projects (org_id, team_id);
ALTER TABLE projects ENABLE ROW LEVEL SECURITY; ALTER TABLE projects FORCE ROW LEVEL SECURITY;
CREATE POLICY projects_org ON projects USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY projects_owner ON projects TO dac_owner USING (true) WITH CHECK (true);

CREATE TABLE users (
  org_id uuid NOT NULL,
  user_id uuid NOT NULL,
  name text NOT NULL,
  email text,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, user_id),
  CONSTRAINT users_name UNIQUE (org_id, name)
);
ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY users_org ON users USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY users_owner ON users TO dac_owner USING (true) WITH CHECK (true);

ALTER TABLE api_keys
  ADD COLUMN team_id uuid,
  ADD COLUMN project_id uuid,
  ADD COLUMN user_id uuid,
  ADD CONSTRAINT api_keys_team FOREIGN KEY (org_id, team_id) REFERENCES teams (org_id, team_id),
  ADD CONSTRAINT api_keys_project FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, project_id),
  ADD CONSTRAINT api_keys_user FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, user_id);
CREATE INDEX api_keys_in_team ON api_keys (org_id, team_id) WHERE team_id IS NOT NULL;
CREATE INDEX api_keys_in_project ON api_keys (org_id, project_id) WHERE project_id IS NOT NULL;
CREATE INDEX api_keys_of_user ON api_keys (org_id, user_id) WHERE user_id IS NOT NULL;

-- What is new changes no key's path: only moves and removals make replicas read again. A user has no place in the tree.
CREATE TRIGGER teams_epoch AFTER UPDATE OR DELETE ON teams FOR EACH STATEMENT EXECUTE FUNCTION bump_key_epoch();
CREATE TRIGGER projects_epoch AFTER UPDATE OR DELETE ON projects FOR EACH STATEMENT EXECUTE FUNCTION bump_key_epoch();
CREATE TRIGGER users_epoch AFTER DELETE ON users FOR EACH STATEMENT EXECUTE FUNCTION bump_key_epoch();

-- A team and all that it lies in, outermost first; empty for none. The bound ends it also on a circle, which the
-- gateway makes none of. It runs with the rights of whoever asks.
CREATE FUNCTION team_path(org uuid, innermost uuid) RETURNS uuid[]
LANGUAGE sql STABLE SET search_path = gateway AS $$
  WITH RECURSIVE upward (team_id, parent_team_id, step) AS (
    SELECT t.team_id, t.parent_team_id, 1 FROM gateway.teams t WHERE t.org_id = org AND t.team_id = innermost
    UNION ALL
    SELECT t.team_id, t.parent_team_id, u.step + 1
    FROM upward u JOIN gateway.teams t ON t.org_id = org AND t.team_id = u.parent_team_id WHERE u.step < 8
  )
  SELECT coalesce(array_agg(team_id ORDER BY step DESC), '{}') FROM upward
$$;

-- find_key with the key's place; the program of before goes on with find_key. A project's team goes before the key's.
CREATE FUNCTION find_placed_key(wanted text) RETURNS TABLE (
  org_id uuid, key_id uuid, hash bytea, scopes text[], models text[], expires_at timestamptz, revoked_at timestamptz,
  team_ids uuid[], project_id uuid, user_id uuid
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = gateway AS $$
  SELECT k.org_id, k.key_id, k.hash, k.scopes, k.models, k.expires_at, k.revoked_at,
    gateway.team_path(k.org_id, coalesce(p.team_id, k.team_id)), k.project_id, k.user_id
  FROM gateway.api_keys k
  LEFT JOIN gateway.projects p ON p.org_id = k.org_id AND p.project_id = k.project_id
  WHERE k.lookup_id = wanted
$$;
