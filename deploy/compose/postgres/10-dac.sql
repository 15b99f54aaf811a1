-- Runs once, as the superuser, when the data folder of PostgreSQL is new. Makes two logins and the database:
-- dac_owner owns it and migrates it; dac is who DAC is at run time, and owns nothing. dac may do what the migration
-- grants it: switch to the role dac_<service> of each service.
\set ON_ERROR_STOP on
\set owner_password `cat "${DAC_SECRETS:-/run/secrets}/dac_owner_password"`
\set login_password `cat "${DAC_SECRETS:-/run/secrets}/dac_password"`
SET password_encryption = 'scram-sha-256';
CREATE ROLE dac_owner LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS NOCREATEDB PASSWORD :'owner_password';
CREATE ROLE dac LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'login_password';
CREATE DATABASE dac OWNER dac_owner;
REVOKE ALL ON DATABASE dac FROM PUBLIC;
GRANT CONNECT ON DATABASE dac TO dac;
\connect dac
-- Only a superuser may install vector; the migrations find it in this schema.
CREATE SCHEMA extensions AUTHORIZATION dac_owner;
GRANT USAGE ON SCHEMA extensions TO PUBLIC;
CREATE EXTENSION vector SCHEMA extensions;
CREATE EXTENSION pg_trgm SCHEMA extensions;
CREATE EXTENSION btree_gist SCHEMA extensions;
CREATE EXTENSION citext SCHEMA extensions;
