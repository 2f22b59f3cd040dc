# Every process of the Procfile in one image: `docker run IMAGE worker`.
FROM python:3.11-slim-bookworm

WORKDIR /srv/companon
COPY requirements/runtime.txt requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements/runtime.txt
COPY . .

# The code stays root's. The process writes its checkpoints here, unless AUDIT_CHECKPOINT_URL names another store.
RUN useradd --system companon && install -d -o companon -g companon -m 0700 var/checkpoints
USER companon
VOLUME /srv/companon/var/checkpoints
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m", "scripts.devstack.process"]
CMD ["web", "--bind", "0.0.0.0:8000"]
