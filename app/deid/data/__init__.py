"""Facts of the DICOM standard, generated; ``SOURCE.md`` names editions. No code lives here."""
