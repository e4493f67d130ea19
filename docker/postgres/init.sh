#!/bin/sh
# A small shop, owned by the role that follows it: a publication needs the tables' owner.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$WALFERRY_PASSWORD" --username "$POSTGRES_USER" \
    --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE walferry LOGIN REPLICATION PASSWORD :'password';
GRANT CREATE ON DATABASE shop TO walferry;

CREATE TABLE customers (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    email text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE orders (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    customer_id bigint NOT NULL REFERENCES customers,
    status text NOT NULL DEFAULT 'new',
    total numeric(12, 2) NOT NULL
);

CREATE TABLE outbox (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    payload jsonb
);

ALTER TABLE customers OWNER TO walferry;
ALTER TABLE orders OWNER TO walferry;
ALTER TABLE outbox OWNER TO walferry;
SQL
