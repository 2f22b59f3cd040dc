# Every process of the Procfile in one image: `docker run IMAGE worker`.
FROM python:3.11-slim-bookworm

WORKDIR /srv/companon
COPY requirements/runtime.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY . .

RUN useradd --system companon
USER companon
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m", "scripts.process"]
CMD ["web", "--bind", "0.0.0.0:8000"]
