"""Mail: written from templates, stored in an outbox, sent by a job."""
