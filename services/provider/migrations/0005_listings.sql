-- What providers last said of their models: the last good copy stays when a provider cannot be asked.
CREATE TABLE listings (
  provider text PRIMARY KEY,
  -- The address it came from: a provider that moved has no list until it was asked again.
  base_url text NOT NULL,
  -- When the last good copy came; null = there is none yet.
  listed_at timestamptz,
  tried_at timestamptz NOT NULL,
  -- Why the last try failed; empty = it did not.
  error text NOT NULL DEFAULT '',
  -- A JSON array; see Listed in services/provider/discovery/listings.py.
  models jsonb NOT NULL DEFAULT '[]'
);

-- How models did in the graded questions.
CREATE TABLE probes (
  provider text NOT NULL,
  name text NOT NULL,
  quality double precision NOT NULL CHECK (quality BETWEEN 0 AND 1),
  answers_right integer NOT NULL,
  asked integer NOT NULL,
  speed_tokens_per_s double precision NOT NULL,
  first_token_ms double precision NOT NULL,
  capabilities text[] NOT NULL DEFAULT '{}',
  probed_at timestamptz NOT NULL,
  PRIMARY KEY (provider, name)
);

-- Counts changes of both, so that a replica sees in one small read whether it is behind.
CREATE TABLE listings_version (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  version bigint NOT NULL
);
INSERT INTO listings_version (version) VALUES (1);
