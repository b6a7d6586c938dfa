"""Where the content of key files lies and who wraps it; what keys mean is in `app.vault.keys`."""
