"""The ready-made profiles. Why each holds what it holds is in ``docs/decisions/0043``."""

from app.deid.options import Option
from app.deid.profile_model import IdentityTemplates, Profile, Unlisted, with_version

BUILT_IN: dict[str, Profile] = {
    profile.name: with_version(profile)
    for profile in (
        Profile(
            name="basic",
            description="Basic Profile; the studies of a patient stay linked",
        ),
        Profile(
            name="basic-per-study",
            identity=IdentityTemplates(
                patient_id="{organization}-{cloud_study_id}",
                patient_name="CloudStudy^{cloud_study_id}",
            ),
            description="Basic Profile; every study stands alone",
        ),
        # Without a reader of text and people who review, it refuses what may carry text.
        Profile(
            name="basic-pixels",
            options=(Option.BASIC, Option.CLEAN_PIXEL_DATA),
            description="Basic Profile; text burned into images is masked, or waits for a review",
        ),
        Profile(
            name="teleradiology",
            options=(
                Option.BASIC,
                Option.CLEAN_DESCRIPTORS,
                Option.MODIFIED_DATES,
                Option.PATIENT_CHARACTERISTICS,
                Option.DEVICE_IDENTITY,
            ),
            description="Remote readers: descriptions cleaned, dates moved, age and device kept",
        ),
        Profile(
            name="research",
            options=(
                Option.BASIC,
                Option.CLEAN_STRUCTURED_CONTENT,
                Option.CLEAN_DESCRIPTORS,
                Option.MODIFIED_DATES,
                Option.PATIENT_CHARACTERISTICS,
                Option.SAFE_PRIVATE,
            ),
            # Who gets a collection has no use for the name of the hospital, nor for the id under
            # which its staff dictate a study.
            identity=IdentityTemplates(
                patient_id="{cloud_patient_id}",
                patient_name="Subject^{cloud_patient_id}",
                accession_number="",
                institution_name="",
            ),
            description="Collections: intervals, age, measurements and sequence parameters kept",
        ),
        Profile(
            name="strict",
            identity=IdentityTemplates(
                patient_id="{cloud_study_id}",
                patient_name="Study^{cloud_study_id}",
                institution_name="",
            ),
            unlisted=Unlisted.REMOVE,
            description="Basic Profile, and of the rest only what an allow-list names",
        ),
    )
}
