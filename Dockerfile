# One image for all services; compose.yaml sets the command of each. Docker's classic builder can build it too.

FROM node:22-slim AS assets
WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM python:3.13-slim AS build
WORKDIR /src
# The build tools stay in this stage. The locked packages are a layer of their own, which is rebuilt only when the
# lock changes.
COPY requirements-bootstrap.lock requirements.lock ./
RUN python -m venv /tools \
 && /tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock \
 && python -m venv --without-pip /opt/tilewright \
 && /tools/bin/uv pip install --no-cache --python /opt/tilewright/bin/python --compile-bytecode \
      --require-hashes -r requirements.lock
COPY . .
COPY --from=assets /src/web/node_modules web/node_modules
RUN /tools/bin/hatchling build -t wheel -d /wheel \
 && /tools/bin/uv pip install --no-cache --python /opt/tilewright/bin/python --compile-bytecode --no-deps /wheel/*.whl

FROM python:3.13-slim
RUN groupadd --gid 10001 tilewright \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent tilewright \
 && install -d -o tilewright -g tilewright /data
COPY --from=build /opt/tilewright /opt/tilewright
ENV PATH=/opt/tilewright/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
USER tilewright
CMD ["tilewright", "up", "--host", "0.0.0.0", "--data", "/data"]
