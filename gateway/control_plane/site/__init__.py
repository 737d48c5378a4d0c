"""The public pages, and what all pages share: layout, forms, headers, limits."""
