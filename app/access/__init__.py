"""Who may call: organisations, API keys and scopes. No HTTP."""
