# models-proxy in a container: hash-locked, not root, and able to run on a read-only root file system.
#   docker build -t models-proxy .
#   docker run --read-only -p 8000:8000 -e MODELS_PROXY_OPEN=true models-proxy
#   docker run --read-only -p 8000:8000 -v "$PWD/config.yaml:/app/config.yaml:ro" models-proxy
# The base image is pinned by digest, so that equal sources give equal images. For its latest patches, look the digest
# up with `docker buildx imagetools inspect python:3.13-slim-bookworm`, or pass --build-arg PYTHON=python:3.13-slim-bookworm

ARG PYTHON=python:3.13-slim-bookworm@sha256:01f42367a0a94ad4bc17111776fd66e3500c1d87c15bbd6055b7371d39c124fb
FROM ${PYTHON} AS build
COPY requirements.lock requirements-dev.lock /tmp/
# The client of `store.valkey` is an extra, whose version and hashes are in the lock for development.
RUN python -m venv /opt/venv \
    && awk '/^redis==/ {found = 1} found {print} found && !/\\$/ {exit}' /tmp/requirements-dev.lock > /tmp/valkey.lock \
    && test -s /tmp/valkey.lock \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements.lock -r /tmp/valkey.lock
COPY proxy /app/proxy
# Compiled now, since nothing can be written later; the installer has no business in a running container.
RUN /opt/venv/bin/python -m compileall -q /app/proxy \
    && /opt/venv/bin/pip uninstall --yes --quiet pip

FROM ${PYTHON}
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
COPY config.yaml LICENSE /app/
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["/opt/venv/bin/python", "-m", "proxy", "health", "--live", "--url", "http://127.0.0.1:8000"]
ENTRYPOINT ["/opt/venv/bin/python", "-m", "proxy"]
CMD ["serve", "--config", "/app/config.yaml", "--host", "0.0.0.0", "--port", "8000"]
