"""The review page: held objects in a browser, for people with an API key of the scope `review`.

Pages are made here, whole; one style sheet and one module make the image's masks editable. What is
held and what a decision does is in `app.quarantine`.
"""
