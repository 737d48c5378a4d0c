# The gateway, and every command of `gateway`. Build it from the top folder:
#   docker build --file docker/gateway.Dockerfile --tag stella-gateway .
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.txt requirements/uv.txt requirements/gateway.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/uv.txt \
    && uv pip install --no-cache --system --require-hashes -r requirements/build.txt \
    && python -m venv --without-pip /opt/gateway \
    && uv pip install --no-cache --python /opt/gateway/bin/python --compile-bytecode \
      --require-hashes -r requirements/gateway.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY backends backends
COPY gateway gateway
COPY migrations migrations
RUN uv build --no-cache --wheel --no-build-isolation --out-dir dist \
    && uv pip install --no-cache --python /opt/gateway/bin/python --compile-bytecode --no-deps \
      dist/*.whl

FROM python:${PYTHON}
# the image's own Python has no bytecode, and at run time nothing can be written
RUN python -m compileall -q -j 0 -x '/(test|idlelib|lib2to3)/' /usr/local/lib/python3* \
    && groupadd --gid 65532 gateway \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /tmp \
      --shell /usr/sbin/nologin gateway \
    && install -d -o 65532 -g 65532 -m 0700 /var/lib/gateway
COPY --from=build /opt/gateway /opt/gateway
LABEL org.opencontainers.image.title="stella-gateway" \
    org.opencontainers.image.licenses="MIT"
COPY LICENSE NOTICE /usr/share/doc/stella-gateway/
COPY --chmod=0755 docker/healthy /usr/local/bin/healthy
ENV PATH=/opt/gateway/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEWAY_JOURNAL_PATH=/var/lib/gateway/journal
WORKDIR /var/lib/gateway
USER 65532:65532
EXPOSE 8080 8081
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["healthy", "http://127.0.0.1:8080/health/ready"]
CMD ["gateway", "run", "--host", "0.0.0.0", "--port", "8080"]
