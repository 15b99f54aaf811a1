-- A second routing policy beside the one in force, and what came of both.
CREATE TABLE experiments (
  org_id uuid NOT NULL,
  experiment_id uuid NOT NULL,
  -- What was asked for, as JSON; it never changes.
  document text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('ab', 'shadow', 'canary')),
  state text NOT NULL CHECK (state IN ('running', 'stopped', 'concluded', 'rolled_back', 'promoted')),
  step integer NOT NULL DEFAULT 0,
  verdict text NOT NULL DEFAULT 'running',
  reason text NOT NULL DEFAULT '',
  version bigint NOT NULL DEFAULT 1,
  -- The caller's, so that the same creation again makes nothing new; empty = none.
  request_id text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL,
  step_at timestamptz NOT NULL,
  ended_at timestamptz,
  PRIMARY KEY (org_id, experiment_id)
);
CREATE UNIQUE INDEX experiments_request ON experiments (org_id, request_id) WHERE request_id <> '';
-- At most one that decides for requests (a promoted one does), and one shadow.
CREATE UNIQUE INDEX experiments_in_force ON experiments (org_id, (kind = 'shadow')) WHERE state IN ('running', 'promoted');
ALTER TABLE experiments ENABLE ROW LEVEL SECURITY; ALTER TABLE experiments FORCE ROW LEVEL SECURITY;
CREATE POLICY experiments_org ON experiments USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY experiments_owner ON experiments TO dac_owner USING (true) WITH CHECK (true);

-- What came of an arm at a step, in sums that any replica may add to.
CREATE TABLE experiment_arms (
  org_id uuid NOT NULL,
  experiment_id uuid NOT NULL,
  step integer NOT NULL,
  arm text NOT NULL CHECK (arm IN ('a', 'b')),
  -- As services/router/experiments/experiments.py names them.
  sums double precision[] NOT NULL,
  -- How many answers took how long.
  latencies double precision[] NOT NULL,
  PRIMARY KEY (org_id, experiment_id, step, arm),
  FOREIGN KEY (org_id, experiment_id) REFERENCES experiments ON DELETE CASCADE
) WITH (fillfactor = 50);
ALTER TABLE experiment_arms ENABLE ROW LEVEL SECURITY; ALTER TABLE experiment_arms FORCE ROW LEVEL SECURITY;
CREATE POLICY experiment_arms_org ON experiment_arms USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY experiment_arms_owner ON experiment_arms TO dac_owner USING (true) WITH CHECK (true);

-- The answers of experiments that may still be rated; no text of any request.
CREATE TABLE experiment_answers (
  org_id uuid NOT NULL,
  request_id uuid NOT NULL,
  experiment_id uuid NOT NULL,
  step integer NOT NULL,
  arm text NOT NULL,
  -- What it was graded by others than its reader, and what it counts for now; NULL = nothing.
  graded double precision,
  counted double precision,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, request_id),
  FOREIGN KEY (org_id, experiment_id) REFERENCES experiments ON DELETE CASCADE
) WITH (fillfactor = 90);
CREATE INDEX experiment_answers_at ON experiment_answers (at);
CREATE INDEX experiment_answers_experiment ON experiment_answers (org_id, experiment_id);
ALTER TABLE experiment_answers ENABLE ROW LEVEL SECURITY; ALTER TABLE experiment_answers FORCE ROW LEVEL SECURITY;
CREATE POLICY experiment_answers_org ON experiment_answers USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY experiment_answers_owner ON experiment_answers TO dac_owner USING (true) WITH CHECK (true);

-- Counts an organisation's changes, so that a replica reads again only what changed. Never removed.
CREATE TABLE experiment_counts (
  org_id uuid NOT NULL,
  changes bigint NOT NULL,
  PRIMARY KEY (org_id)
);
ALTER TABLE experiment_counts ENABLE ROW LEVEL SECURITY; ALTER TABLE experiment_counts FORCE ROW LEVEL SECURITY;
CREATE POLICY experiment_counts_org ON experiment_counts USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY experiment_counts_owner ON experiment_counts TO dac_owner USING (true) WITH CHECK (true);

-- Two columns of sums as one.
CREATE FUNCTION added(one double precision[], other double precision[]) RETURNS double precision[]
LANGUAGE sql IMMUTABLE AS $$
  SELECT array_agg(coalesce(x, 0) + coalesce(y, 0) ORDER BY place)
  FROM unnest(one, other) WITH ORDINALITY AS sums(x, y, place)
$$;

-- The ways across organisations: whose experiments changed how often, and forgetting answers of all of them.
CREATE FUNCTION experiment_organisations() RETURNS TABLE (org_id uuid, changes bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = router AS $$
  SELECT c.org_id, c.changes FROM router.experiment_counts c
$$;
CREATE FUNCTION forget_experiment_answers(before timestamptz, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = router AS $$
  WITH gone AS (
    DELETE FROM router.experiment_answers WHERE (org_id, request_id) IN (
      SELECT a.org_id, a.request_id FROM router.experiment_answers a WHERE a.at < before ORDER BY a.at LIMIT most)
    RETURNING 1)
  SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION experiment_organisations(), forget_experiment_answers(timestamptz, integer) FROM PUBLIC;
