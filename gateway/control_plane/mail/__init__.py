"""Mail: written from templates, kept in an outbox, sent by a job."""
