"""Tables, connections, migrations and the embedded server. No decisions about DICOM."""
