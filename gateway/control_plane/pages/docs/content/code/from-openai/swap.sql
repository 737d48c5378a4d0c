BEGIN;
ALTER TABLE documents RENAME COLUMN embedding TO embedding_openai;
ALTER TABLE documents RENAME COLUMN embedding_new TO embedding;
CREATE INDEX documents_by_meaning ON documents USING hnsw (embedding vector_cosine_ops);
COMMIT;
