# syntax=docker/dockerfile:1
# One image for web, worker, beat, stream and the MLflow server: the argument says which
# (deploy/entrypoint). It writes only below /var/lib/sentiment and /tmp, so that the rest may be
# mounted read-only.
#
#   docker build -t sentiment .
#   docker build -t sentiment:gpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
ARG PYTHON=3.11.14-slim-trixie

FROM python:${PYTHON} AS build
# PyPI's torch brings CUDA, several GB; this index has the build without.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /venv
COPY requirements.txt .
RUN /venv/bin/pip install --extra-index-url "$TORCH_INDEX" -r requirements.txt

FROM python:${PYTHON}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Live sentiment" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VAR_DIR=/var/lib/sentiment \
    STATIC_ROOT=/app/staticfiles \
    HOME=/tmp
# pg_dump of version 17, for `backup`: servers up to that version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin sentiment \
    && install -d -o sentiment -g sentiment /var/lib/sentiment /var/lib/mlflow /app
COPY --from=build /venv /venv
WORKDIR /app
COPY . .
# Compiled once here: nothing can be written later.
RUN SECRET_KEY=only-to-build VAR_DIR=/tmp/build python manage.py collectstatic --noinput \
    && rm -rf /tmp/build \
    && python -m compileall -q /app
USER 10001:10001
VOLUME ["/var/lib/sentiment"]
EXPOSE 8000 9100
STOPSIGNAL SIGTERM
# Of the web process; compose and Kubernetes ask the others `health worker` and the like.
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=4 \
    CMD ["deploy/entrypoint", "health", "web"]
ENTRYPOINT ["deploy/entrypoint"]
CMD ["web"]
