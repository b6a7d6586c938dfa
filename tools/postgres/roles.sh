#!/bin/sh
# Run once by the postgres image on an empty data directory: one database user per task.
# deid_owner owns the tables and is used for migrations and administration only.
set -eu

psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set owner="$OWNER_PASSWORD" \
    --set gateway="$GATEWAY_PASSWORD" \
    --set batch="$BATCH_PASSWORD" \
    --set worker="$WORKER_PASSWORD" \
    --set reidentify="$REIDENTIFY_PASSWORD" \
    --set review="$REVIEW_PASSWORD" \
    --set auditor="$AUDITOR_PASSWORD" \
    --set admin="$ADMIN_PASSWORD" <<'SQL'
CREATE ROLE deid_owner LOGIN PASSWORD :'owner';
CREATE ROLE deid_gateway LOGIN PASSWORD :'gateway';
CREATE ROLE deid_batch LOGIN PASSWORD :'batch';
CREATE ROLE deid_worker LOGIN PASSWORD :'worker';
CREATE ROLE deid_reidentify LOGIN PASSWORD :'reidentify';
CREATE ROLE deid_review LOGIN PASSWORD :'review';
CREATE ROLE deid_auditor LOGIN PASSWORD :'auditor';
CREATE ROLE deid_admin LOGIN PASSWORD :'admin';
-- Without a password nobody can be these: give one where an autoscaler reads the queue, and where
-- somebody who runs nothing else verifies the audit.
CREATE ROLE deid_scaler LOGIN;
CREATE ROLE deid_verifier LOGIN;
CREATE DATABASE deid OWNER deid_owner;
REVOKE ALL ON DATABASE deid FROM PUBLIC;
GRANT CONNECT ON DATABASE deid
    TO deid_gateway, deid_batch, deid_worker, deid_reidentify, deid_review, deid_auditor,
    deid_admin, deid_scaler, deid_verifier;
SQL
