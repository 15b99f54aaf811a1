-- The row-lock version that budgets are usually written as: a transaction for each operation, which locks the five
-- counters, decides, and writes. As durable as the real one, with a row for each reservation and a ledger.
CREATE SCHEMA naive;
SET search_path = naive;
CREATE TABLE counters (
  counter_id int PRIMARY KEY,
  most bigint NOT NULL,
  committed bigint NOT NULL DEFAULT 0,
  reserved bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE TABLE reservations (
  reservation_id uuid PRIMARY KEY,
  amount bigint NOT NULL,
  state smallint NOT NULL DEFAULT 0
);
CREATE TABLE ledger (
  reservation_id uuid PRIMARY KEY,
  amount bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION reserve(id uuid, path int[], wanted bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  one record;
BEGIN
  FOR one IN SELECT most, committed, reserved FROM naive.counters
      WHERE counter_id = ANY (path) ORDER BY counter_id FOR UPDATE LOOP
    IF one.committed + one.reserved + wanted > one.most THEN
      RETURN false;
    END IF;
  END LOOP;
  UPDATE naive.counters SET reserved = reserved + wanted WHERE counter_id = ANY (path);
  INSERT INTO naive.reservations (reservation_id, amount) VALUES (id, wanted);
  RETURN true;
END $$;

CREATE FUNCTION commit(id uuid, path int[], cost bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  held bigint;
BEGIN
  PERFORM 1 FROM naive.counters WHERE counter_id = ANY (path) ORDER BY counter_id FOR UPDATE;
  UPDATE naive.reservations SET state = 1 WHERE reservation_id = id AND state = 0 RETURNING amount INTO held;
  IF held IS NULL THEN
    RETURN false;
  END IF;
  UPDATE naive.counters SET reserved = reserved - held, committed = committed + cost WHERE counter_id = ANY (path);
  INSERT INTO naive.ledger (reservation_id, amount) VALUES (id, cost);
  RETURN true;
END $$;

INSERT INTO counters (counter_id, most) SELECT n, 1000000000000000 FROM generate_series(1, 5) AS n;
