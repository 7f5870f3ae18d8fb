# The standalone server: the page and the HTTP API, without ComfyUI. See docs/deployment.md.
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /source
# What the program needs changes less often than the program, so it is a layer of its own.
COPY requirements.txt pyproject.toml README.md LICENSE ./
RUN python -m venv --without-pip /opt/model-resolver \
    && python -m pip --python /opt/model-resolver/bin/python install --no-cache-dir \
    --requirement requirements.txt 'redis>=5'
COPY resolver resolver
COPY web web
COPY locales locales
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m pip --python /opt/model-resolver/bin/python install --no-cache-dir --no-index --no-deps /wheels/*.whl

FROM python:${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="ComfyUI Model Resolver" \
    org.opencontainers.image.description="Finds the models a ComfyUI workflow is missing and downloads them, verified." \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
# Volumes begin with the owner that their folder has in the image.
RUN useradd --uid 1000 --user-group --create-home resolver \
    && install --directory --owner=resolver --group=resolver /comfyui /comfyui/models /comfyui/user
COPY --from=build /opt/model-resolver /opt/model-resolver
COPY tools/health.py /opt/model-resolver/health.py
ENV PATH="/opt/model-resolver/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    CMR_COMFYUI_ROOT=/comfyui \
    CMR_API_HOST=0.0.0.0 \
    CMR_API_PORT=5002
# A number, so that Kubernetes can tell that it is not root.
USER 1000:1000
WORKDIR /comfyui
VOLUME ["/comfyui/models", "/comfyui/user"]
EXPOSE 5002
HEALTHCHECK --interval=30s --timeout=6s --start-period=20s CMD ["python", "/opt/model-resolver/health.py"]
# Open to other machines, so it starts only with CMR_API_TOKEN. Other commands: docker run IMAGE resolve …
ENTRYPOINT ["comfy-model-resolver"]
CMD ["serve", "--host", "0.0.0.0"]
