#!/bin/sh
# Run once by the postgres image on an empty data directory: one database user per task.
# deid_owner owns the tables and is used for migrations and administration only.
set -eu

psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set owner="$OWNER_PASSWORD" \
    --set gateway="$GATEWAY_PASSWORD" \
    --set reidentify="$REIDENTIFY_PASSWORD" <<'SQL'
CREATE ROLE deid_owner LOGIN PASSWORD :'owner';
CREATE ROLE deid_gateway LOGIN PASSWORD :'gateway';
CREATE ROLE deid_reidentify LOGIN PASSWORD :'reidentify';
CREATE DATABASE deid OWNER deid_owner;
REVOKE ALL ON DATABASE deid FROM PUBLIC;
GRANT CONNECT ON DATABASE deid TO deid_gateway, deid_reidentify;
SQL
