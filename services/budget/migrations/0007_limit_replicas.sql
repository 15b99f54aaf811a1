-- The replicas that are alive: where they cannot count rate limits together, each counts its part.
CREATE TABLE rate_limit_replicas (
  instance text PRIMARY KEY,
  seen_at timestamptz NOT NULL
);
