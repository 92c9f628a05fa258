# `detector score` as a user without rights. Running it needs no network, no writable folder but /tmp, and no capability:
#   docker build -t detector .
#   docker run --rm --network none --read-only --tmpfs /tmp --cap-drop ALL -v "$PWD/photos:/data:ro" detector /data
# With --build-arg EXTRAS=serve,postgres it also has what `detector serve` needs (deploy/).
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY detector detector
ARG EXTRAS=
RUN python -m venv /opt/detector && /opt/detector/bin/pip install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}"

FROM python:3.11-slim
COPY --from=build /opt/detector /opt/detector
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin detector && install -d -o 10001 -g 10001 /state
USER 10001:10001
ENV HOME=/tmp MPLCONFIGDIR=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /data
ENTRYPOINT ["/opt/detector/bin/detector", "score"]
CMD ["."]
