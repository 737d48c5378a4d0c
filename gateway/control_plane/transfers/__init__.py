"""An organization that goes on in another deployment: closed here, a file, begun there."""
