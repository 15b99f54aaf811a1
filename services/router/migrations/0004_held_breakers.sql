-- Breakers that an operator holds: for all replicas, and beyond a restart. They are nobody's organisation: a model is out
-- of service for everybody.
CREATE TABLE held_breakers (
  model text NOT NULL,
  provider text NOT NULL,
  -- What it is held at.
  state text NOT NULL CHECK (state IN ('open', 'closed')),
  held_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (model, provider)
);
