-- Keys whose answers go without the persona of their policy.
ALTER TABLE api_keys ADD COLUMN without_persona boolean NOT NULL DEFAULT false;

-- find_placed_key with that; the program of before goes on with find_placed_key.
CREATE FUNCTION find_speaking_key(wanted text) RETURNS TABLE (
  org_id uuid, key_id uuid, hash bytea, scopes text[], models text[], expires_at timestamptz, revoked_at timestamptz,
  team_ids uuid[], project_id uuid, user_id uuid, without_persona boolean
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = gateway AS $$
  SELECT k.org_id, k.key_id, k.hash, k.scopes, k.models, k.expires_at, k.revoked_at,
    gateway.team_path(k.org_id, coalesce(p.team_id, k.team_id)), k.project_id, k.user_id, k.without_persona
  FROM gateway.api_keys k
  LEFT JOIN gateway.projects p ON p.org_id = k.org_id AND p.project_id = k.project_id
  WHERE k.lookup_id = wanted
$$;
