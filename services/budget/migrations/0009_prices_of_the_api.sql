-- Prices of models that were made through the API have a source of their own.
ALTER TABLE prices DROP CONSTRAINT prices_source_check;
ALTER TABLE prices ADD CONSTRAINT prices_source_check
  CHECK (source IN ('config', 'operator', 'api', 'catalog', 'fetched'));
ALTER TABLE scheduled_prices DROP CONSTRAINT scheduled_prices_source_check;
ALTER TABLE scheduled_prices ADD CONSTRAINT scheduled_prices_source_check
  CHECK (source IN ('config', 'operator', 'api', 'catalog'));
