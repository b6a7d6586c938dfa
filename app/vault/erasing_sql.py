"""The statements of an erasure. Values are always parameters."""

from typing import Final

NUMBER: Final = "SELECT number FROM organizations WHERE id = %s"
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
VALID_KEY: Final = "SELECT id FROM api_keys WHERE id = %s AND revoked_at IS NULL"
PATIENTS_OF_STUDY: Final = """
SELECT DISTINCT cloud_patient_id FROM study_identities
WHERE organization = %s AND cloud_study_id = %s LIMIT 2
"""
IS_KNOWN: Final = """
SELECT EXISTS (SELECT FROM subjects WHERE organization = %s AND cloud_patient_id = %s)
    OR EXISTS (SELECT FROM tombstones WHERE organization = %s AND cloud_patient_id = %s)
"""
DATA_KEYS: Final = """
SELECT id, created_at FROM data_keys
WHERE organization = %(organization)s AND cloud_patient_id = %(patient)s
AND (%(before)s::timestamptz IS NULL OR created_at < %(before)s)
ORDER BY id FOR UPDATE
"""
# A data key is used for a quarter of an hour; the hour before and after it is for clocks that
# were set and processes that slept. A row that is further away stays, and nothing opens it.
_INSTANCES: Final = """
DELETE FROM instances WHERE organization = %(organization)s AND data_key = ANY(%(keys)s)
AND first_seen_at BETWEEN %(since)s::timestamptz - interval '1 hour'
    AND %(until)s::timestamptz + interval '2 hours'
"""
_FILE_NAMES: Final = """
UPDATE batch_items AS i SET sealed_name = '', data_key = 0
FROM batches AS b
WHERE b.organization = %(organization)s AND i.batch = b.id AND i.data_key = ANY(%(keys)s)
AND b.submitted_at < %(until)s::timestamptz + interval '2 hours'
AND coalesce(b.finished_at, now()) > %(since)s::timestamptz - interval '1 hour'
"""
_SERIES: Final = """
DELETE FROM series WHERE organization = %(organization)s AND data_key = ANY(%(keys)s)
AND cloud_study_id = ANY(%(studies)s)
"""
_IDENTITIES: Final = """
DELETE FROM study_identities WHERE organization = %(organization)s
AND cloud_patient_id = %(patient)s AND data_key = ANY(%(keys)s)
"""
_STUDIES: Final = """
DELETE FROM studies AS s WHERE s.organization = %(organization)s
AND s.cloud_study_id = ANY(%(studies)s) AND (s.data_key = ANY(%(keys)s) OR s.data_key IS NULL)
AND NOT EXISTS (SELECT FROM study_identities AS i
    WHERE i.organization = s.organization AND i.cloud_study_id = s.cloud_study_id)
AND NOT EXISTS (SELECT FROM series AS x
    WHERE x.organization = s.organization AND x.cloud_study_id = s.cloud_study_id)
"""
# Others still refer to it: an identity under another patient, a series that came later.
_EMPTIED_STUDIES: Final = """
UPDATE studies SET sealed = NULL, data_key = NULL WHERE organization = %(organization)s
AND cloud_study_id = ANY(%(studies)s) AND data_key = ANY(%(keys)s)
"""
_SUBJECT: Final = """
DELETE FROM subjects AS s WHERE s.organization = %(organization)s
AND s.cloud_patient_id = %(patient)s AND (s.data_key = ANY(%(keys)s) OR s.data_key IS NULL)
AND NOT EXISTS (SELECT FROM study_identities AS i
    WHERE i.organization = s.organization AND i.cloud_patient_id = s.cloud_patient_id)
"""
_EMPTIED_SUBJECT: Final = """
UPDATE subjects SET sealed = NULL, data_key = NULL WHERE organization = %(organization)s
AND cloud_patient_id = %(patient)s AND data_key = ANY(%(keys)s)
"""
_FORGOTTEN_KEYS: Final = """
INSERT INTO destroyed_data_keys (id) SELECT unnest(%(keys)s) ON CONFLICT DO NOTHING
"""
_KEYS: Final = "DELETE FROM data_keys WHERE id = ANY(%(keys)s)"

# Objects that wait for a person, and what was decided about them. The key of one lies in its row.
HELD: Final = """
DELETE FROM quarantine WHERE organization = %(organization)s AND cloud_patient_id = %(patient)s
"""
STUDIES: Final = """
SELECT DISTINCT cloud_study_id FROM study_identities
WHERE organization = %(organization)s AND cloud_patient_id = %(patient)s
"""
# In the order in which rows refer to each other.
DESTROY: Final = {
    "instances": _INSTANCES,
    "file_names": _FILE_NAMES,
    "series": _SERIES,
    "identities": _IDENTITIES,
    "studies": _STUDIES,
    "emptied_studies": _EMPTIED_STUDIES,
    "subjects": _SUBJECT,
    "emptied_subjects": _EMPTIED_SUBJECT,
    "forgotten_keys": _FORGOTTEN_KEYS,
    "data_keys": _KEYS,
}
SET_ERASED: Final = """
INSERT INTO tombstones (organization, cloud_patient_id, erased_at) VALUES (%s, %s, now())
ON CONFLICT (organization, cloud_patient_id)
DO UPDATE SET erased_at = now(), generation = tombstones.generation + 1
RETURNING erased_at
"""
SET_EXPIRED: Final = """
INSERT INTO tombstones (organization, cloud_patient_id, expired_at) VALUES (%s, %s, now())
ON CONFLICT (organization, cloud_patient_id)
DO UPDATE SET expired_at = now(), generation = tombstones.generation + 1
RETURNING expired_at
"""
# What a data key seals came within the quarter of an hour after it was made.
EXPIRED: Final = """
SELECT k.cloud_patient_id, now() - make_interval(days => o.retention_days, hours => 1)
FROM data_keys AS k JOIN organizations AS o ON o.number = k.organization
WHERE o.number = %s
AND k.created_at < now() - make_interval(days => o.retention_days, hours => 1)
GROUP BY k.cloud_patient_id, o.retention_days ORDER BY k.cloud_patient_id
"""
# No process holds a data key for longer than a quarter of an hour.
FORGET_DESTROYED: Final = """
DELETE FROM destroyed_data_keys WHERE destroyed_at < now() - interval '30 days'
"""
