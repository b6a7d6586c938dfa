-- What the serving users may do, and nothing else. Run by the owner of the tables after every
-- `deid-gateway db upgrade`; running it again changes nothing. The rights are those of
-- app/db/roles.py; a test compares them.

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM deid_gateway, deid_reidentify;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM deid_gateway, deid_reidentify;
GRANT USAGE ON SCHEMA public TO deid_gateway, deid_reidentify;

-- De-identification adds rows and compares keyed hashes; it reads nothing that was sealed.
GRANT SELECT ON alembic_version TO deid_gateway;
GRANT SELECT ON organizations TO deid_gateway;
GRANT SELECT ON api_keys TO deid_gateway;
GRANT INSERT ON audit_events TO deid_gateway;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO deid_gateway;
GRANT INSERT ON data_keys TO deid_gateway;
GRANT INSERT ON study_identities TO deid_gateway;
GRANT INSERT, SELECT (organization, cloud_patient_id, lookup) ON subjects TO deid_gateway;
GRANT INSERT, SELECT (organization, cloud_study_id, lookup) ON studies TO deid_gateway;
GRANT INSERT, SELECT (organization, uid, lookup) ON series TO deid_gateway;
GRANT INSERT, SELECT (organization, uid, lookup) ON instances TO deid_gateway;

-- Re-identification reads the mapping and adds nothing to it.
GRANT SELECT ON alembic_version TO deid_reidentify;
GRANT SELECT ON organizations TO deid_reidentify;
GRANT SELECT ON api_keys TO deid_reidentify;
GRANT INSERT ON audit_events TO deid_reidentify;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO deid_reidentify;
GRANT SELECT ON data_keys TO deid_reidentify;
GRANT SELECT ON subjects TO deid_reidentify;
GRANT SELECT ON studies TO deid_reidentify;
GRANT SELECT ON study_identities TO deid_reidentify;
GRANT SELECT ON series TO deid_reidentify;
GRANT SELECT ON instances TO deid_reidentify;
