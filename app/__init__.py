"""deid-gateway: de-identifies DICOM at the hospital's border and guards the way back."""

__version__ = "0.1.0"
