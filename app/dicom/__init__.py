"""The border to DICOM's encoding: sources, tokens, character sets and compressed frames.

Nothing here knows a confidentiality profile.
"""
