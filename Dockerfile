# One image for web, worker, beat and stream: the argument says which (deploy/entrypoint).
FROM python:3.11-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements.txt .
RUN /venv/bin/pip install --extra-index-url "$TORCH_INDEX" -r requirements.txt

FROM python:3.11-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 VAR_DIR=/var/lib/sentiment STATIC_ROOT=/app/staticfiles
RUN useradd --system --uid 10001 --home-dir /app sentiment \
    && mkdir -p /var/lib/sentiment /app \
    && chown sentiment /var/lib/sentiment
COPY --from=build /venv /venv
WORKDIR /app
COPY . .
RUN SECRET_KEY=build VAR_DIR=/tmp/build python manage.py collectstatic --noinput && rm -rf /tmp/build
USER sentiment
VOLUME /var/lib/sentiment
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["deploy/entrypoint"]
CMD ["web"]
