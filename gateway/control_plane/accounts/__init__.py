"""Organizations, their members and API keys; people, their sessions and sign-in links."""
