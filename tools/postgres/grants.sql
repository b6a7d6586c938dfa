-- What the serving users may do, and nothing else. Run by the owner of the tables after every
-- `deid-gateway db upgrade`; running it again changes nothing. The rights are those of
-- app/db/roles.py; a test compares them.

BEGIN;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM deid_gateway, deid_batch, deid_worker,
    deid_reidentify, deid_review, deid_auditor, deid_admin, deid_scaler, deid_verifier;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM deid_gateway, deid_batch, deid_worker,
    deid_reidentify, deid_review, deid_auditor, deid_admin, deid_scaler, deid_verifier;
GRANT USAGE ON SCHEMA public TO deid_gateway, deid_batch, deid_worker,
    deid_reidentify, deid_review, deid_auditor, deid_admin, deid_scaler, deid_verifier;

-- De-identification adds rows and compares keyed hashes; it reads nothing that was sealed.
GRANT SELECT ON alembic_version TO deid_gateway;
GRANT SELECT ON organizations TO deid_gateway;
GRANT SELECT ON api_keys TO deid_gateway;
GRANT INSERT ON audit_events TO deid_gateway;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO deid_gateway;
GRANT SELECT, INSERT ON audit_checkpoints TO deid_gateway;
GRANT INSERT ON data_keys TO deid_gateway;
GRANT INSERT ON study_identities TO deid_gateway;
GRANT INSERT, SELECT (organization, cloud_patient_id, lookup) ON subjects TO deid_gateway;
GRANT INSERT, SELECT (organization, cloud_study_id, lookup) ON studies TO deid_gateway;
GRANT INSERT, SELECT (organization, uid, lookup) ON series TO deid_gateway;
GRANT INSERT, SELECT (organization, uid, lookup) ON instances TO deid_gateway;
GRANT SELECT ON tombstones TO deid_gateway;
GRANT INSERT, SELECT (id, organization, digest, profile, state, ruling) ON quarantine TO deid_gateway;
GRANT SELECT (id, organization, state, sealed) ON mask_rules TO deid_gateway;
GRANT SELECT, INSERT, UPDATE ON organization_usage TO deid_gateway;

-- The batch interface takes batches in and shows them; it writes no mapping.
GRANT SELECT ON alembic_version TO deid_batch;
GRANT SELECT ON organizations TO deid_batch;
GRANT SELECT ON api_keys TO deid_batch;
GRANT INSERT ON audit_events TO deid_batch;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO deid_batch;
GRANT SELECT, INSERT ON audit_checkpoints TO deid_batch;
GRANT SELECT, INSERT ON procrastinate_jobs TO deid_batch;
GRANT INSERT ON procrastinate_events TO deid_batch;
GRANT USAGE ON SEQUENCE procrastinate_jobs_id_seq, procrastinate_events_id_seq TO deid_batch;
GRANT SELECT, INSERT, UPDATE, DELETE ON batches, batch_chunks TO deid_batch;
GRANT SELECT, DELETE ON batch_items TO deid_batch;
GRANT SELECT, UPDATE ON batch_problems TO deid_batch;
GRANT SELECT ON batch_workers TO deid_batch;
GRANT INSERT, SELECT (staging) ON batch_leftovers TO deid_batch;

-- Workers do both, and take work from the queue.
GRANT SELECT ON alembic_version TO deid_worker;
GRANT SELECT ON organizations TO deid_worker;
GRANT SELECT ON api_keys TO deid_worker;
GRANT INSERT ON audit_events TO deid_worker;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO deid_worker;
GRANT SELECT, INSERT ON audit_checkpoints TO deid_worker;
GRANT INSERT ON data_keys TO deid_worker;
GRANT INSERT ON study_identities TO deid_worker;
GRANT INSERT, SELECT (organization, cloud_patient_id, lookup) ON subjects TO deid_worker;
GRANT INSERT, SELECT (organization, cloud_study_id, lookup) ON studies TO deid_worker;
GRANT INSERT, SELECT (organization, uid, lookup) ON series TO deid_worker;
GRANT INSERT, SELECT (organization, uid, lookup) ON instances TO deid_worker;
GRANT SELECT ON tombstones TO deid_worker;
GRANT INSERT, SELECT (id, organization, digest, profile, state, ruling) ON quarantine TO deid_worker;
GRANT SELECT (id, organization, state, sealed) ON mask_rules TO deid_worker;
GRANT SELECT, INSERT, UPDATE ON organization_usage TO deid_worker;
GRANT SELECT ON every_organization TO deid_worker;
GRANT SELECT, INSERT ON procrastinate_jobs TO deid_worker;
GRANT INSERT ON procrastinate_events TO deid_worker;
GRANT USAGE ON SEQUENCE procrastinate_jobs_id_seq, procrastinate_events_id_seq TO deid_worker;
GRANT UPDATE, DELETE ON procrastinate_jobs TO deid_worker;
GRANT SELECT (job_id), UPDATE ON procrastinate_periodic_defers TO deid_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON procrastinate_workers TO deid_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON batches, batch_chunks, batch_items, batch_problems TO deid_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON batch_workers, batch_leftovers TO deid_worker;
GRANT SELECT, INSERT, UPDATE ON batch_turns TO deid_worker;

-- Re-identification reads the mapping and adds nothing to it.
GRANT SELECT ON alembic_version TO deid_reidentify;
GRANT SELECT ON organizations TO deid_reidentify;
GRANT SELECT ON api_keys TO deid_reidentify;
GRANT INSERT ON audit_events TO deid_reidentify;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO deid_reidentify;
GRANT SELECT, INSERT ON audit_checkpoints TO deid_reidentify;
GRANT SELECT ON data_keys TO deid_reidentify;
GRANT SELECT ON subjects TO deid_reidentify;
GRANT SELECT ON studies TO deid_reidentify;
GRANT SELECT ON study_identities TO deid_reidentify;
GRANT SELECT ON series TO deid_reidentify;
GRANT SELECT ON instances TO deid_reidentify;
GRANT SELECT ON batches, batch_items, batch_problems, batch_workers TO deid_reidentify;
GRANT SELECT (organization, batch, state) ON batch_chunks TO deid_reidentify;
GRANT SELECT ON reidentify_safeguards TO deid_reidentify;
GRANT SELECT, INSERT, UPDATE ON reidentify_quotas TO deid_reidentify;
GRANT SELECT, INSERT, UPDATE, DELETE ON reidentify_requests, reidentify_notices TO deid_reidentify;

-- Review looks at what is held and decides; of the mapping it reads nothing.
GRANT SELECT ON alembic_version TO deid_review;
GRANT SELECT ON organizations TO deid_review;
GRANT SELECT ON api_keys TO deid_review;
GRANT INSERT ON audit_events TO deid_review;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO deid_review;
GRANT SELECT, INSERT ON audit_checkpoints TO deid_review;
GRANT SELECT, UPDATE (state, sealed, ruling, decided_at, decider, decided_by) ON quarantine TO deid_review;
GRANT SELECT, INSERT, UPDATE (state, decided_at, decider, decided_by, revoked_at, revoked_by) ON mask_rules TO deid_review;

-- Whoever shows the audit records who looked, and keeps how far it was forwarded.
GRANT SELECT ON alembic_version TO deid_auditor;
GRANT SELECT ON organizations TO deid_auditor;
GRANT SELECT ON api_keys TO deid_auditor;
GRANT INSERT ON audit_events TO deid_auditor;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO deid_auditor;
GRANT SELECT, INSERT ON audit_checkpoints TO deid_auditor;
GRANT SELECT ON audit_events TO deid_auditor;
GRANT SELECT, INSERT, UPDATE ON audit_forwards TO deid_auditor;
GRANT SELECT ON every_organization TO deid_auditor;

-- Erasure and retention destroy sealed originals and read none; so does sealing keys anew.
GRANT SELECT ON alembic_version TO deid_admin;
GRANT SELECT ON organizations TO deid_admin;
GRANT SELECT ON api_keys TO deid_admin;
GRANT INSERT ON audit_events TO deid_admin;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO deid_admin;
GRANT SELECT, INSERT ON audit_checkpoints TO deid_admin;
GRANT SELECT ON every_organization TO deid_admin;
GRANT UPDATE (retention_days, after_erasure) ON organizations TO deid_admin;
GRANT SELECT, INSERT, UPDATE ON tombstones TO deid_admin;
GRANT SELECT, INSERT, DELETE ON destroyed_data_keys TO deid_admin;
GRANT SELECT, UPDATE, DELETE ON data_keys TO deid_admin;
GRANT SELECT (organization, cloud_patient_id, data_key), DELETE ON subjects TO deid_admin;
GRANT SELECT (organization, cloud_study_id, data_key), DELETE ON studies TO deid_admin;
GRANT UPDATE (sealed, data_key) ON subjects, studies TO deid_admin;
GRANT SELECT (organization, cloud_study_id, cloud_patient_id, data_key), DELETE ON study_identities TO deid_admin;
GRANT SELECT (organization, uid, cloud_study_id, data_key), DELETE ON series TO deid_admin;
GRANT SELECT (organization, uid, data_key, first_seen_at), DELETE ON instances TO deid_admin;
GRANT SELECT (batch, seq, data_key), UPDATE (sealed_name, data_key) ON batch_items TO deid_admin;
GRANT SELECT, UPDATE (sealed_request, sealed_cursor) ON batches TO deid_admin;
GRANT SELECT, UPDATE (sealed_files) ON batch_chunks TO deid_admin;
GRANT SELECT, UPDATE (sealed_request) ON batch_leftovers TO deid_admin;
GRANT SELECT (organization, cloud_patient_id, key_version, state), DELETE ON quarantine TO deid_admin;

-- An autoscaler counts what waits.
GRANT SELECT (state, on_error, open_chunks, unpublished_chunks) ON batches TO deid_scaler;
GRANT SELECT ON every_organization TO deid_scaler;

-- Whoever verifies the audit writes nothing.
GRANT SELECT ON alembic_version TO deid_verifier;
GRANT SELECT ON audit_events, audit_heads, audit_checkpoints TO deid_verifier;
GRANT SELECT ON every_organization TO deid_verifier;

COMMIT;
