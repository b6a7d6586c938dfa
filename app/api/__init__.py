"""The HTTP border: routes, problem documents, bodies. The only package that knows HTTP."""
