"""The pages: each module has a `router`, and is added to the application by its being here."""
