# The workers, each an image. Build one from the top folder:
#   docker build --file docker/worker.Dockerfile --target minilm --tag stella-worker:minilm .
#   docker build --file docker/worker.Dockerfile --target stella --tag stella-worker:stella .
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.txt requirements/uv.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/uv.txt \
    && uv pip install --no-cache --system --require-hashes -r requirements/build.txt \
    && python -m venv --without-pip /opt/worker
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY backends backends
COPY gateway gateway
COPY migrations migrations
RUN uv build --no-cache --wheel --no-build-isolation --out-dir dist

FROM build AS build-minilm
COPY requirements/run.txt requirements/
RUN uv pip install --no-cache --python /opt/worker/bin/python --compile-bytecode \
      --require-hashes -r requirements/run.txt \
    && uv pip install --no-cache --python /opt/worker/bin/python --compile-bytecode --no-deps \
      dist/*.whl

FROM build AS build-stella
COPY requirements/torch.txt requirements/worker.txt requirements/
RUN uv pip install --no-cache --python /opt/worker/bin/python --compile-bytecode \
      --require-hashes -r requirements/torch.txt \
    && uv pip install --no-cache --python /opt/worker/bin/python --compile-bytecode \
      --require-hashes -r requirements/worker.txt \
    && uv pip install --no-cache --python /opt/worker/bin/python --compile-bytecode --no-deps \
      dist/*.whl

FROM python:${PYTHON} AS base
# the image's own Python has no bytecode, and at run time nothing can be written
RUN python -m compileall -q -j 0 -x '/(test|idlelib|lib2to3)/' /usr/local/lib/python3* \
    && groupadd --gid 65532 worker \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /tmp \
      --shell /usr/sbin/nologin worker \
    && install -d -o 65532 -g 65532 -m 0755 /var/cache/hub
LABEL org.opencontainers.image.title="stella-worker" \
    org.opencontainers.image.licenses="MIT"
COPY LICENSE NOTICE /usr/share/doc/stella-gateway/
COPY --chmod=0755 docker/healthy /usr/local/bin/healthy
ENV PATH=/opt/worker/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    HF_HOME=/var/cache/hub \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 65532:65532
EXPOSE 9000

# Stella, on a GPU if the container has one. The start takes as long as its weights to load.
FROM base AS stella
COPY --from=build-stella /opt/worker /opt/worker
HEALTHCHECK --interval=5s --timeout=3s --start-period=600s --retries=3 \
    CMD ["healthy", "http://127.0.0.1:9000/ready"]
CMD ["stella-worker", "--weights", "/weights", "--host", "0.0.0.0", "--port", "9000"]

# all-MiniLM-L6-v2, which needs neither a GPU nor torch.
FROM base AS minilm
COPY --from=build-minilm /opt/worker /opt/worker
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["healthy", "http://127.0.0.1:9000/ready"]
CMD ["python", "-m", "backends.minilm", "--host", "0.0.0.0", "--port", "9000"]
