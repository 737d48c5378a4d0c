"""A client for each kind of embedding server, all behind `backends.protocol.Backend`."""
