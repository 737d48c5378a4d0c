"""The kit that every page is made with; it knows no page."""
