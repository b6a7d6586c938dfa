"""Pseudonyms, keys and the sealed way back from them. No HTTP, no DICOM."""
