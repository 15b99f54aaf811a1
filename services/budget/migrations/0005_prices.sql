-- Prices to come wait here and become versions in `prices` on their day: so the order of the versions stays the order in
-- which they counted, and a program that does not know this table reads no price before its time.

CREATE TABLE scheduled_prices (
  provider text NOT NULL,
  model text NOT NULL,
  valid_from timestamptz NOT NULL,
  source text NOT NULL CHECK (source IN ('config', 'operator', 'catalog')),
  state text NOT NULL CHECK (state IN ('priced', 'free')),
  buckets text[] NOT NULL,
  nano_usd_per_mtok bigint[] NOT NULL,
  PRIMARY KEY (provider, model, source, valid_from),
  CHECK (cardinality(buckets) = cardinality(nano_usd_per_mtok))
);
