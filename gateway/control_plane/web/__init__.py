"""What all pages are built with; nothing here knows a page."""
