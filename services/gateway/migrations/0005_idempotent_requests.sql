-- Changes that were sent with an Idempotency-Key: what came of each, sealed, so that the same one again does nothing.

CREATE TABLE idempotent_requests (
  org_id uuid NOT NULL,
  caller text NOT NULL,
  key_hash bytea NOT NULL,
  fingerprint bytea NOT NULL,
  run_id uuid NOT NULL,
  request_id uuid NOT NULL,
  runs_until timestamptz NOT NULL,
  kept_until timestamptz NOT NULL,
  finished_at timestamptz,
  master_key_id text NOT NULL DEFAULT '',
  answer bytea,
  PRIMARY KEY (org_id, caller, key_hash)
);
CREATE INDEX idempotent_requests_kept ON idempotent_requests (kept_until);
ALTER TABLE idempotent_requests ENABLE ROW LEVEL SECURITY; ALTER TABLE idempotent_requests FORCE ROW LEVEL SECURITY;
CREATE POLICY idempotent_requests_org ON idempotent_requests USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY idempotent_requests_owner ON idempotent_requests TO dac_owner USING (true) WITH CHECK (true);

-- Removes what is kept no longer, of every organisation, so many rows at most; how many they were. Replicas that sweep at
-- the same time take different rows.
CREATE FUNCTION sweep_idempotent_requests(most integer) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = gateway AS $$
  WITH old AS (
    SELECT org_id, caller, key_hash FROM gateway.idempotent_requests WHERE kept_until < now()
    ORDER BY kept_until LIMIT most FOR UPDATE SKIP LOCKED
  ), gone AS (
    DELETE FROM gateway.idempotent_requests r USING old
    WHERE r.org_id = old.org_id AND r.caller = old.caller AND r.key_hash = old.key_hash RETURNING 1
  ) SELECT count(*)::integer FROM gone
$$;
REVOKE ALL ON FUNCTION sweep_idempotent_requests(integer) FROM PUBLIC;
