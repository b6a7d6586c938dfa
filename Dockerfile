# The gateway as an image: `docker build -t deid-gateway .`
# What runs is chosen by the command: serve (by default with the role anonymize), worker, batch, db,
# keys, api-keys … Packages of key providers: `--build-arg EXTRAS="boto3 python-pkcs11"`; for Clean
# Pixel Data: `"imagecodecs numpy pillow pyjpegls pypdfium2 onnxruntime opencv-python-headless rapidocr"`.

FROM python:3.11-slim-bookworm AS build
ARG EXTRAS=""
COPY requirements.txt requirements-dev.txt /build/
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r /build/requirements.txt \
    && for package in $EXTRAS; do \
        /opt/venv/bin/pip install --no-cache-dir --require-hashes \
            --constraint /build/requirements-dev.txt "$package" || exit 1; \
    done
COPY alembic /opt/deid-gateway/alembic
COPY app /opt/deid-gateway/app
RUN /opt/venv/bin/python -m compileall -q /opt/deid-gateway/app

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin deid-gateway \
    && install -d -o deid-gateway -g deid-gateway -m 0700 \
        /data /keys/gateway /keys/reidentify /keys/review /staging /quarantine /incoming /checkpoints
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/deid-gateway /opt/deid-gateway
COPY LICENSE /opt/deid-gateway/

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/deid-gateway \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DEID_MODE=production \
    DEID_HOST=0.0.0.0 \
    DEID_PORT=8000 \
    DEID_DATA_DIR=/data

USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "app.cli"]
CMD ["serve", "--role", "anonymize"]
