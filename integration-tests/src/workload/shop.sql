CREATE TABLE customers (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    tier smallint NOT NULL DEFAULT 0,
    balance numeric(12,2) NOT NULL DEFAULT 0,
    active boolean,
    born date,
    joined timestamptz NOT NULL DEFAULT clock_timestamp(),
    biography text
);
ALTER TABLE customers ALTER biography SET STORAGE EXTERNAL;

-- Old rows are sent whole.
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    customer bigint NOT NULL,
    status text NOT NULL DEFAULT 'new',
    total numeric(12,2) NOT NULL DEFAULT 0,
    note text,
    placed timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE orders REPLICA IDENTITY FULL;
ALTER TABLE orders ALTER note SET STORAGE EXTERNAL;

-- A key of two columns, which changes with that of the order.
CREATE TABLE order_lines (
    order_id bigint REFERENCES orders ON UPDATE CASCADE ON DELETE CASCADE,
    line int,
    sku text NOT NULL,
    quantity int NOT NULL,
    price numeric,
    PRIMARY KEY (order_id, line)
);

-- Large values of two types, which most updates leave as they are, also those of the key.
CREATE TABLE documents (
    id bigint PRIMARY KEY,
    body text NOT NULL,
    image bytea,
    views int NOT NULL DEFAULT 0,
    details jsonb
);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL, ALTER image SET STORAGE EXTERNAL;

-- Without a key.
CREATE TABLE visits (customer bigint, page text, seconds int);
ALTER TABLE visits REPLICA IDENTITY FULL;

-- Written by COPY, and truncated from time to time.
CREATE TABLE baskets (id bigint PRIMARY KEY, content text, items int);

CREATE TABLE measurements (region text, id bigint, value double precision, taken timestamp,
    PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE measurements_north PARTITION OF measurements FOR VALUES IN ('north');
CREATE TABLE measurements_south PARTITION OF measurements FOR VALUES IN ('south');
CREATE TABLE measurements_rest PARTITION OF measurements DEFAULT;

CREATE TABLE outbox (
    id uuid PRIMARY KEY,
    aggregatetype varchar(255) NOT NULL,
    aggregateid varchar(255) NOT NULL,
    type varchar(255) NOT NULL,
    payload jsonb
);

-- What was committed, for the checker; walferry is not told of these tables.
CREATE TABLE committed (name text NOT NULL, op text NOT NULL);
CREATE TABLE promised (
    id uuid PRIMARY KEY, route text NOT NULL, aggregate text NOT NULL, number bigint NOT NULL
);
CREATE TABLE numbers (
    route text, aggregate text, number bigint NOT NULL, PRIMARY KEY (route, aggregate)
);

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO committed VALUES (TG_ARGV[0], TG_OP);
    RETURN NULL;
END $$;

-- The counter's row lock puts the events of an aggregate into the order of their commits.
CREATE FUNCTION emit(route text, aggregate text, kind text, more text, remove boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    event uuid := gen_random_uuid();
    place bigint;
BEGIN
    INSERT INTO numbers VALUES (route, aggregate, 1)
    ON CONFLICT ON CONSTRAINT numbers_pkey DO UPDATE SET number = numbers.number + 1
    RETURNING numbers.number INTO place;
    INSERT INTO promised VALUES (event, route, aggregate, place);
    INSERT INTO outbox VALUES (event, route, aggregate, kind,
        jsonb_build_object('number', place, 'aggregate', aggregate, 'more', more));
    IF remove THEN
        DELETE FROM outbox WHERE id = event;
    END IF;
END $$;
