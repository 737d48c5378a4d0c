"""The console: everything an organization sees of its own."""
