-- What the serving processes may do, and nothing else. Run by the owner of the tables after every
-- `deid-gateway db upgrade`; running it again changes nothing.

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM deid_gateway, deid_reidentify;

-- Both check callers and the schema's revision, and write the audit. The audit's rows can be
-- added, never changed: the heads of its chains move, and a trigger lets them only grow.
GRANT SELECT ON alembic_version, organizations, api_keys TO deid_gateway, deid_reidentify;
GRANT SELECT, INSERT ON audit_events TO deid_gateway, deid_reidentify;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO deid_gateway, deid_reidentify;

-- The gateway adds to the mapping and compares keyed hashes; it holds no key that opens a row.
GRANT SELECT, INSERT ON data_keys, subjects, studies, study_identities, series, instances
    TO deid_gateway;

-- Re-identification reads the mapping and adds nothing to it.
GRANT SELECT ON data_keys, subjects, studies, study_identities, series, instances
    TO deid_reidentify;
