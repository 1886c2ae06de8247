-- The sample schema of rehearsals: a small shop with some of everything that logical replication, an upgrade or a
-- careless quoting can stumble over. Nothing in it is found by inventory: each table has a usable replica identity, no
-- extension is needed, no trigger fires on a subscriber.
--
-- Loads on PostgreSQL 13 to 18 into an empty UTF-8 database, as a role that may create schemas and roles; by psql or as
-- one batch. Its rows come from fixed formulas: two loads are equal on every version. Names are always qualified, since
-- pgrun's sessions look names up in pg_catalog alone.

-- Roles of the applications. They belong to the server, so a load into its second database finds them; their passwords
-- are set elsewhere.
DO $roles$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['app', 'reporting'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I LOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- A load into another database was faster.
            END;
        END IF;
    END LOOP;
END
$roles$;

CREATE SCHEMA shop;
CREATE SCHEMA "Lager & Größen";
CREATE SCHEMA reporting;
COMMENT ON SCHEMA "Lager & Größen" IS 'A schema whose name needs quotes everywhere';

-- Types.

CREATE TYPE shop.order_status AS ENUM ('new', 'paid', 'packed', 'shipped', 'returned');
CREATE TYPE shop.channel AS ENUM ('web', 'store', 'phone', 'Partner "B2B"');
CREATE TYPE "Lager & Größen"."Größe" AS ENUM ('XS', 'S', 'M', 'L', 'XL');
CREATE TYPE shop.address AS (street text, zip varchar(10), city text);
CREATE TYPE shop.price_range AS RANGE (subtype = numeric);

CREATE DOMAIN shop.email AS text CONSTRAINT looks_like_one CHECK (VALUE ~ '^[^@\s]+@[^@\s]+$');
CREATE DOMAIN shop.amount AS numeric(12, 2) DEFAULT 0 CONSTRAINT not_negative CHECK (VALUE >= 0);
CREATE DOMAIN shop.price AS shop.amount CONSTRAINT costs_something CHECK (VALUE > 0);
CREATE DOMAIN shop.percentage AS smallint NOT NULL DEFAULT 0 CHECK (VALUE BETWEEN 0 AND 100);
COMMENT ON DOMAIN shop.email IS 'Something, an at sign, something';

-- Sequences that belong to no column.

CREATE SEQUENCE shop.invoice_number INCREMENT BY 7 MINVALUE 1000 MAXVALUE 99999999 START WITH 1000 CACHE 20;
CREATE SEQUENCE shop."Ticket №" AS smallint INCREMENT BY 3 MINVALUE 1 MAXVALUE 500 CYCLE;
CREATE SEQUENCE shop.countdown INCREMENT BY -2 MINVALUE -1000000 MAXVALUE 0 START WITH 0;
CREATE SEQUENCE shop.voucher START WITH 100;
CREATE SEQUENCE shop.never_used AS integer MINVALUE -5 START WITH -5;
CREATE SEQUENCE shop.order_id START WITH 1;
COMMENT ON SEQUENCE shop.voucher IS 'Set to 500 but not called: its next value is 500, and pg_sequences shows NULL';

-- Functions.

CREATE FUNCTION shop.slug(title text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT lower(regexp_replace(title, '[^[:alnum:]]+', '-', 'g')) $$;

CREATE FUNCTION shop.touch() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END
$$;

CREATE FUNCTION shop.log_order() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO shop.audit_log (happened_at, actor, action, detail)
    VALUES (clock_timestamp(), session_user, TG_ARGV[0] || ' ' || TG_OP,
            jsonb_build_object('order', OLD.id, 'was', OLD.status, 'partition', TG_TABLE_NAME));
    RETURN NULL;
END
$$;

CREATE FUNCTION shop.add_up() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE shop.orders o
       SET total = o.total + a.amount
      FROM (SELECT order_id, placed_on, channel, sum(amount) AS amount FROM added GROUP BY 1, 2, 3) a
     WHERE (o.id, o.placed_on, o.channel) = (a.order_id, a.placed_on, a.channel);
    RETURN NULL;
END
$$;

CREATE FUNCTION shop.at_least_one_line() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NEW.status >= 'packed' AND NOT EXISTS (SELECT FROM shop.order_line WHERE order_id = NEW.id) THEN
        RAISE EXCEPTION 'order % is packed but empty', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE AGGREGATE shop.product_of(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1');

-- Tables.

CREATE TABLE shop.country (
    code char(2) COLLATE "C" PRIMARY KEY,
    name text NOT NULL UNIQUE,
    vat shop.percentage
);

CREATE TABLE shop.customer (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 1000 INCREMENT BY 5) PRIMARY KEY,
    email shop.email NOT NULL,
    full_name varchar(80) NOT NULL,
    country char(2) COLLATE "C" NOT NULL REFERENCES shop.country ON UPDATE CASCADE,
    address shop.address,
    born date,
    vip boolean NOT NULL DEFAULT false,
    balance numeric(14, 4) NOT NULL DEFAULT 0,
    preferences jsonb NOT NULL DEFAULT '{"news": true}',
    avatar bytea,
    last_ip inet,
    -- Points forward as well as backward, so it can only be checked at the end.
    referred_by bigint REFERENCES shop.customer ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    joined_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz,
    CONSTRAINT "born once" CHECK (born > '1900-01-01' AND born < '2100-01-01')
);
CREATE UNIQUE INDEX customer_email ON shop.customer (lower(email));
CREATE INDEX customer_vip ON shop.customer (joined_at DESC NULLS LAST) INCLUDE (full_name) WHERE vip;
CREATE INDEX customer_preferences ON shop.customer USING gin (preferences jsonb_path_ops);
COMMENT ON TABLE shop.customer IS 'Whoever bought something';
COMMENT ON COLUMN shop.customer.balance IS 'Negative: we owe';

CREATE TABLE shop.product (
    id serial PRIMARY KEY,
    sku text NOT NULL CONSTRAINT product_sku UNIQUE,
    name text NOT NULL,
    price shop.price NOT NULL,
    vat shop.percentage,
    gross numeric(12, 2) GENERATED ALWAYS AS (round(price * (100 + vat) / 100, 2)) STORED,
    weight_kg real,
    dimensions double precision[3],
    tags text[] NOT NULL DEFAULT '{}',
    words tsvector GENERATED ALWAYS AS (to_tsvector('pg_catalog.simple'::regconfig, name)) STORED,
    public_id uuid NOT NULL UNIQUE,
    sold_for shop.price_range,
    on_sale daterange,
    changed_at timestamptz
) WITH (fillfactor = 90);
CREATE INDEX product_slug ON shop.product (shop.slug(name));
CREATE INDEX product_words ON shop.product USING gin (words);
CREATE INDEX product_weight ON shop.product USING brin (weight_kg) WITH (pages_per_range = 16);
CREATE STATISTICS shop.product_vat_price (dependencies, ndistinct) ON vat, price FROM shop.product;

-- Orders: by year; within a year by channel, or by hash.
CREATE TABLE shop.orders (
    id bigint NOT NULL DEFAULT nextval('shop.order_id'),
    placed_on date NOT NULL,
    channel shop.channel NOT NULL DEFAULT 'web',
    customer_id bigint NOT NULL REFERENCES shop.customer,
    status shop.order_status NOT NULL DEFAULT 'new',
    total shop.amount NOT NULL,
    note text,
    PRIMARY KEY (id, placed_on, channel)
) PARTITION BY RANGE (placed_on);
ALTER SEQUENCE shop.order_id OWNED BY shop.orders.id;
CREATE TABLE shop.orders_2024 PARTITION OF shop.orders
    FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (channel);
CREATE TABLE shop.orders_2024_web PARTITION OF shop.orders_2024 FOR VALUES IN ('web');
CREATE TABLE shop.orders_2024_counter PARTITION OF shop.orders_2024 FOR VALUES IN ('store', 'phone');
CREATE TABLE shop.orders_2024_other PARTITION OF shop.orders_2024 DEFAULT;
CREATE TABLE shop.orders_2025 PARTITION OF shop.orders
    FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY HASH (id);
CREATE TABLE shop.orders_2025_0 PARTITION OF shop.orders_2025 FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE shop.orders_2025_1 PARTITION OF shop.orders_2025 FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE shop.orders_2025_2 PARTITION OF shop.orders_2025 FOR VALUES WITH (MODULUS 3, REMAINDER 2);
CREATE TABLE shop.orders_rest PARTITION OF shop.orders DEFAULT;
CREATE INDEX orders_of_customer ON shop.orders (customer_id, placed_on);

CREATE TABLE shop.order_line (
    order_id bigint NOT NULL,
    line_no smallint NOT NULL,
    placed_on date NOT NULL,
    channel shop.channel NOT NULL,
    product_id integer NOT NULL REFERENCES shop.product,
    quantity integer NOT NULL CHECK (quantity > 0),
    price shop.price NOT NULL,
    discount shop.percentage,
    amount numeric(12, 2) GENERATED ALWAYS AS (round(quantity * price * (100 - discount) / 100, 2)) STORED,
    PRIMARY KEY (order_id, line_no),
    CONSTRAINT order_line_order FOREIGN KEY (order_id, placed_on, channel) REFERENCES shop.orders
        ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX order_line_product ON shop.order_line USING hash (product_id);

CREATE TABLE shop.payments (
    id bigint NOT NULL,
    method text NOT NULL,
    invoice bigint NOT NULL DEFAULT nextval('shop.invoice_number'),
    order_id bigint NOT NULL,
    amount shop.amount NOT NULL,
    received_at timestamptz NOT NULL,
    exchange_rate double precision NOT NULL DEFAULT 1,
    PRIMARY KEY (id, method)
) PARTITION BY LIST (method);
CREATE TABLE shop.payments_bank PARTITION OF shop.payments FOR VALUES IN ('transfer', 'direct debit');
-- Not made as a partition but attached as one: its columns stand in another order, and one was dropped.
CREATE TABLE shop.payments_counter (
    method text NOT NULL,
    till integer,
    id bigint NOT NULL,
    amount shop.amount NOT NULL,
    order_id bigint NOT NULL,
    invoice bigint NOT NULL,
    exchange_rate double precision NOT NULL DEFAULT 1,
    received_at timestamptz NOT NULL
);
ALTER TABLE shop.payments_counter DROP COLUMN till;
ALTER TABLE shop.payments ATTACH PARTITION shop.payments_counter FOR VALUES IN ('card', 'cash', 'it''s a gift');

-- No primary key: found by a unique index.
CREATE TABLE shop.inventory (
    product_id integer NOT NULL REFERENCES shop.product ON DELETE CASCADE,
    place integer NOT NULL,
    quantity integer NOT NULL DEFAULT 0,
    counted_at timestamp,
    remark varchar
);
CREATE UNIQUE INDEX "inventory by place" ON shop.inventory (product_id, place);
ALTER TABLE shop.inventory REPLICA IDENTITY USING INDEX "inventory by place";

-- No key at all: found by all its columns.
CREATE TABLE shop.audit_log (
    happened_at timestamptz NOT NULL,
    actor name NOT NULL,
    action text NOT NULL,
    detail jsonb
);
ALTER TABLE shop.audit_log REPLICA IDENTITY FULL;

-- Inheritance of the old kind, each table with a key of its own.
CREATE TABLE shop.note (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    body text NOT NULL DEFAULT '',
    written_at timestamptz NOT NULL
);
CREATE TABLE shop.archived_note (archived_on date NOT NULL, PRIMARY KEY (id)) INHERITS (shop.note);

CREATE TABLE "Lager & Größen"."Lagerplätze" (
    "Platz-Nr" integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    "Gang" "char" NOT NULL,
    "Höhe (cm)" numeric NOT NULL,
    "Größe" "Lager & Größen"."Größe" NOT NULL DEFAULT 'M',
    "belegt?" boolean NOT NULL DEFAULT false,
    "Say ""when""" time,
    UNIQUE ("Gang", "Höhe (cm)", "Platz-Nr")
);
COMMENT ON TABLE "Lager & Größen"."Lagerplätze" IS 'Umlauts, blanks, brackets, a question mark and quotes';

CREATE TABLE "Lager & Größen"."📦 Pakete" (
    "Sendung №" text COLLATE "C" PRIMARY KEY,
    "Platz" integer REFERENCES "Lager & Größen"."Lagerplätze" ("Platz-Nr") ON DELETE SET NULL,
    "Gewicht" real NOT NULL,
    "Laufzeit" interval NOT NULL,
    "Stationen" timestamptz[] NOT NULL,
    "Merkmale" bit(8) NOT NULL,
    "Kennung" macaddr,
    "Ort" point,
    "Rest" numeric
);

CREATE TABLE reporting."a name of sixty-three bytes, the longest that PostgreSQL keeps." (
    "key" smallint PRIMARY KEY,
    "json" json,
    "value" text
);

-- Triggers; none of them fires where rows arrive by replication.

CREATE TRIGGER touch BEFORE UPDATE ON shop.customer FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE TRIGGER touch BEFORE UPDATE OF name, price ON shop.product FOR EACH ROW
    WHEN (ROW(OLD.name, OLD.price) IS DISTINCT FROM ROW(NEW.name, NEW.price)) EXECUTE FUNCTION shop.touch();
CREATE TRIGGER "log: order" AFTER UPDATE OF status OR DELETE ON shop.orders FOR EACH ROW
    EXECUTE FUNCTION shop.log_order('it''s');
CREATE TRIGGER add_up AFTER INSERT ON shop.order_line REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION shop.add_up();
CREATE CONSTRAINT TRIGGER not_empty AFTER UPDATE ON shop.orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION shop.at_least_one_line();
CREATE TRIGGER sleeping BEFORE DELETE ON shop.country FOR EACH ROW EXECUTE FUNCTION shop.touch();
ALTER TABLE shop.country DISABLE TRIGGER sleeping;

-- Views.

CREATE VIEW reporting.customer_overview WITH (security_barrier) AS
    SELECT c.id, c.full_name, c.country, date_trunc('month', c.joined_at) AS since, (c.address).city AS city
    FROM shop.customer c
    WHERE c.balance >= 0 OR c.vip;

CREATE VIEW reporting.best_sellers AS
    WITH sold AS (SELECT product_id, sum(quantity) AS pieces, sum(amount) AS amount FROM shop.order_line GROUP BY 1)
    SELECT p.sku, p.name, s.pieces, s.amount, rank() OVER (ORDER BY s.amount DESC) AS place
    FROM sold s JOIN shop.product p ON p.id = s.product_id;

CREATE MATERIALIZED VIEW reporting.revenue_by_month AS
    SELECT date_trunc('month', o.placed_on::timestamp)::date AS month, o.channel, count(*) AS orders,
           sum(o.total) AS revenue
    FROM shop.orders o
    GROUP BY 1, 2
    WITH NO DATA;
CREATE UNIQUE INDEX revenue_by_month_key ON reporting.revenue_by_month (month, channel);

-- More functions, for which the tables must exist.

CREATE FUNCTION shop.orders_of(who bigint, since date DEFAULT '2024-01-01', OUT id bigint, OUT total numeric)
    RETURNS SETOF record LANGUAGE sql STABLE ROWS 20
    AS $$ SELECT o.id, o.total FROM shop.orders o WHERE o.customer_id = who AND o.placed_on >= since ORDER BY o.id $$;

CREATE PROCEDURE shop.ship(INOUT moved bigint)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    WITH gone AS (UPDATE shop.orders SET status = 'shipped' WHERE status = 'packed' RETURNING 1)
    SELECT count(*) INTO moved FROM gone;
END
$$;
COMMENT ON PROCEDURE shop.ship(bigint) IS 'Ships what is packed, and says how many';

-- Privileges.

GRANT USAGE ON SCHEMA shop, "Lager & Größen" TO app, reporting;
GRANT USAGE ON SCHEMA reporting TO reporting;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop, "Lager & Größen" TO app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA shop, "Lager & Größen" TO app;
REVOKE UPDATE, DELETE ON shop.audit_log FROM app;
GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO reporting;
GRANT SELECT (id, full_name, country, joined_at), UPDATE (vip) ON shop.customer TO reporting WITH GRANT OPTION;
REVOKE EXECUTE ON PROCEDURE shop.ship(bigint) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE shop.ship(bigint) TO app;
ALTER DEFAULT PRIVILEGES IN SCHEMA reporting GRANT SELECT ON TABLES TO reporting;

-- Rows: about 20,000. All statements that change a definition stand above, since deferred checks are pending from here
-- on when this is one batch.

INSERT INTO shop.country (code, name, vat)
SELECT split_part(pair, '=', 1), split_part(pair, '=', 2), 17 + n % 9
FROM unnest(ARRAY['AT=Österreich', 'CH=Schweiz', 'CZ=Česko', 'DE=Deutschland', 'DK=Danmark', 'ES=España', 'FI=Suomi',
                  'GR=Ελλάδα', 'IS=Ísland', 'JP=日本', 'PL=Polska', 'UA=Україна'])
     WITH ORDINALITY AS t (pair, n);

INSERT INTO shop.customer (email, full_name, country, address, born, vip, balance, preferences, avatar, last_ip,
                           referred_by, joined_at)
SELECT 'Customer.' || n || '@example.' || (ARRAY['org', 'net', 'com'])[1 + n % 3],
       (ARRAY['Ada', 'Jürgen', 'Zoë', 'Владимир', '花子', 'O''Neill', 'Ана "A"'])[1 + n % 7] || ' No. ' || n,
       (ARRAY['AT', 'CH', 'CZ', 'DE', 'DK', 'ES', 'FI', 'GR', 'IS', 'JP', 'PL', 'UA'])[1 + n % 12],
       CASE WHEN n % 4 > 0 THEN
           ROW('Straße ' || n, lpad((n * 37 % 100000)::text, 5, '0'), 'City, "' || n % 90 || '"')::shop.address END,
       CASE WHEN n % 5 > 0 THEN date '1950-01-01' + n * 11 % 20000 END,
       n % 10 = 0,
       (n * 7919 % 200000 - 50000) / 16.0,
       jsonb_build_object('news', n % 2 = 0, 'sizes', jsonb_build_array(n % 5, n % 3), 'note', repeat('é', n % 6)),
       CASE WHEN n % 8 = 0 THEN decode(repeat(md5(n::text), 1 + n % 40), 'hex') END,
       ('10.' || n % 256 || '.' || n / 256 || '.1/' || 8 + n % 25)::inet,
       CASE WHEN n % 6 = 0 THEN 1000 + 5 * (n * 13 % 2000) END,
       timestamptz '2020-02-29 23:59:59.999999+00' + n * interval '11 hours 7 minutes'
FROM generate_series(0, 1999) n;

INSERT INTO shop.product (sku, name, price, vat, weight_kg, dimensions, tags, public_id, sold_for, on_sale)
SELECT 'SKU-' || lpad(n::text, 5, '0'),
       (ARRAY['Lamp', 'Chair', 'Käse', 'Tea', 'Book', 'Велосипед'])[1 + n % 6] || ' model ' || n,
       (100 + n * 7919 % 90000) / 100.0,
       (ARRAY[0, 7, 10, 19, 25])[1 + n % 5],
       CASE WHEN n % 50 = 0 THEN 'NaN' ELSE n % 333 / 7.0::real END,
       ARRAY[n / 3.0::float8, n * 1e-7::float8, 'Infinity'],
       (ARRAY['new', 'sale, final', 'a "quote"', NULL, 'back\slash'])[1:n % 6],
       md5('product ' || n)::uuid,
       shop.price_range((n % 50)::numeric, (n % 50 + 20)::numeric),
       CASE WHEN n % 3 = 0 THEN daterange(date '2024-01-01' + n, NULL) END
FROM generate_series(1, 800) n;

-- Explicit values behind which the sequence must be moved.
INSERT INTO shop.orders (id, placed_on, channel, customer_id, status, total, note)
SELECT n, date '2023-11-01' + n * 17 % 900, (enum_range(NULL::shop.channel))[1 + n % 4], 1000 + 5 * (n * 31 % 2000),
       (enum_range(NULL::shop.order_status))[1 + n % 5], 0,
       CASE WHEN n % 9 = 0 THEN E'line one\nline\ttwo \\N ' || n END
FROM generate_series(1, 3000) n;

INSERT INTO shop.order_line (order_id, line_no, placed_on, channel, product_id, quantity, price, discount)
SELECT o.id, line, o.placed_on, o.channel, 1 + (o.id * 13 + line * 101) % 800, 1 + (o.id + line) % 9,
       (50 + (o.id * line * 7919) % 40000) / 100.0, CASE WHEN o.id % 7 = 0 THEN 5 * line ELSE 0 END
FROM shop.orders o, generate_series(1, 4) line
WHERE line <= 1 + o.id % 4;

INSERT INTO shop.payments (id, method, invoice, order_id, amount, received_at, exchange_rate)
SELECT n, (ARRAY['card', 'cash', 'transfer', 'direct debit', 'it''s a gift'])[1 + n % 5], 1000 + 7 * n, 1 + n * 3 % 3000,
       (n * 104729 % 1000000) / 100.0, timestamptz '2024-03-31 00:30:00+00' + n * interval '3 hours',
       1 + n / 1024.0::float8
FROM generate_series(1, 2400) n;

INSERT INTO shop.inventory (product_id, place, quantity, counted_at, remark)
SELECT 1 + n % 800, n / 800, n * 37 % 500, timestamp '2024-06-30 12:00:00' + n * interval '90 seconds',
       CASE n % 4 WHEN 0 THEN '' WHEN 1 THEN 'top' END
FROM generate_series(0, 1599) n;

-- Some rows are there twice: only their number tells them apart.
INSERT INTO shop.audit_log (happened_at, actor, action, detail)
SELECT timestamptz '2024-01-01 00:00:00+00' + n / 2 * interval '1 hour', 'app', 'load', jsonb_build_object('n', n / 2)
FROM generate_series(0, 599) n;

INSERT INTO shop.note (id, body, written_at)
SELECT md5('note ' || n)::uuid, repeat('All work and no play. ', n), timestamptz '-infinity' FROM generate_series(1, 120) n;
INSERT INTO shop.archived_note (id, body, written_at, archived_on)
SELECT md5('archive ' || n)::uuid, 'old ' || n, timestamptz '2021-12-31 23:00:00+00', date '2022-01-01' + n
FROM generate_series(1, 80) n;

INSERT INTO "Lager & Größen"."Lagerplätze" ("Gang", "Höhe (cm)", "Größe", "belegt?", "Say ""when""")
SELECT chr(65 + n % 26)::"char", n * 12.5, (enum_range(NULL::"Lager & Größen"."Größe"))[1 + n % 5], n % 3 = 0,
       time '06:00' + n * interval '1 minute'
FROM generate_series(1, 300) n;

INSERT INTO "Lager & Größen"."📦 Pakete"
SELECT 'JJD' || lpad((n * 99991)::text, 12, '0'), CASE WHEN n % 4 > 0 THEN 1 + n % 300 END, n % 500 / 16.0::real,
       n * interval '1 day 2 hours 3.25 seconds' - interval '1 month',
       ARRAY[timestamptz '2024-10-27 00:59:59+00', timestamptz '2024-10-27 00:59:59+00' + n * interval '1 hour'],
       (n % 256)::bit(8),
       ('08:00:2b:' || lpad(to_hex(n % 256), 2, '0') || ':' || lpad(to_hex(n / 256), 2, '0') || ':01')::macaddr,
       point(n / 8.0::float8, -n / 4.0::float8), CASE n % 3 WHEN 0 THEN 'NaN' WHEN 1 THEN n * 1e20 / 7 END
FROM generate_series(1, 1500) n;

INSERT INTO reporting."a name of sixty-three bytes, the longest that PostgreSQL keeps."
SELECT n, json_build_object('n', n, 'text', E'\\u00e9 "é"'), nullif(repeat('x', n), '') FROM generate_series(0, 40) n;

-- Where the sequences stand: called, not called, turned around, exactly at their start.
DO $sequences$
BEGIN
    PERFORM setval('shop.invoice_number', 1000 + 7 * 2400), setval('shop.order_id', 3000),
            setval('shop.voucher', 500, false), setval('shop."Ticket №"', 499), setval('shop.countdown', -4242);
END
$sequences$;

REFRESH MATERIALIZED VIEW reporting.revenue_by_month;
