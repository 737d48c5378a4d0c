"""The back office: whoever runs the service sees what needs them, and acts."""
