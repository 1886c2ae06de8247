-- Definitions that versions of PostgreSQL store or print in different ways, or that a careless reading of the catalogs
-- misses. Loaded behind the sample, whose roles it uses; on 13 to 18, as one batch.

CREATE SCHEMA t;
CREATE SCHEMA "We ""ird";

-- Columns named by words that were no keywords on older versions; a table that is called as its schema.
CREATE TABLE t.t (
    id int PRIMARY KEY, "json" jsonb, "value" text, "Mixed" int, merge_action text, ts timestamptz, d date, arr int[],
    r int4range, f float8, n numeric
);
CREATE TABLE t.u (id int REFERENCES t.t, tid int, "json" text, x text COLLATE "C");
CREATE TABLE t."select" ("from" int PRIMARY KEY, "order" text);
CREATE TABLE "We ""ird"."We ""ird" ("We ""ird" int PRIMARY KEY);
CREATE TYPE t.pair AS (a int, b text);
CREATE TABLE t.typed OF t.pair (a PRIMARY KEY);

-- Views: with one source, whose name is printed before 16 and not from then on, and with several.
CREATE VIEW t.v01 AS SELECT id, "value", "json" ->> 'a' AS j FROM t.t;
CREATE VIEW t.v02 AS SELECT a.id, a.value FROM t.t a WHERE a.id > 3 ORDER BY a.ts DESC NULLS LAST LIMIT 5 OFFSET 1;
CREATE VIEW t.v03 AS SELECT * FROM (SELECT id, "value" FROM t.t WHERE id IN (SELECT id FROM t.u WHERE u.id = t.id)) sub;
CREATE VIEW t.v04 AS SELECT id FROM t.t WHERE EXISTS (SELECT FROM t.u WHERE u.tid = t.id AND u.x = t.value);
CREATE VIEW t.v05 AS SELECT id FROM t.t UNION ALL SELECT id FROM t.u;
CREATE VIEW t.v06 AS WITH w AS (SELECT id, count(*) c FROM t.u GROUP BY id) SELECT w.id, w.c FROM w WHERE w.c > 1;
CREATE VIEW t.v07 AS WITH RECURSIVE r (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r;
CREATE VIEW t.v08 AS SELECT g, g * 2 AS h FROM generate_series(1, 3) g;
CREATE VIEW t.v09 AS SELECT a, b FROM (VALUES (1, 'x.y'), (2, 'v.a')) v (a, b);
CREATE VIEW t.v10 AS SELECT id, rank() OVER w, sum(n) OVER (PARTITION BY value ORDER BY id ROWS 1 PRECEDING)
    FROM t.t WINDOW w AS (PARTITION BY "Mixed" ORDER BY id);
CREATE VIEW t.v11 AS SELECT value, "Mixed", grouping(value) gr, count(*) FILTER (WHERE id > 1)
    FROM t.t GROUP BY GROUPING SETS ((value), ("Mixed"), ()) HAVING count(*) > 0;
CREATE VIEW t.v12 AS SELECT DISTINCT ON (value) value, id FROM t.t ORDER BY value, id;
CREATE VIEW t.v13 AS SELECT a.id, l.m FROM t.t a, LATERAL (SELECT max(b.id) m FROM t.u b WHERE b.tid = a.id) l;
CREATE VIEW t.v14 AS SELECT id, x, t.value FROM t.t JOIN t.u USING (id);
CREATE VIEW t.v15 (c1, c2) AS SELECT id, value FROM t.t;
CREATE VIEW t.v16 AS SELECT t, t.id FROM t.t;
CREATE VIEW t.v17 AS SELECT t.*::text AS whole, ROW(t.*) IS NULL AS empty FROM t.t;
CREATE VIEW t.v18 AS SELECT "We ""ird" FROM "We ""ird"."We ""ird";
CREATE VIEW t.v19 AS SELECT "from", "order" || 'select.from' || E'a\\b''c' AS s FROM t."select";
CREATE VIEW t.v20 AS SELECT id FROM t.t FOR UPDATE;
CREATE VIEW t.v21 AS SELECT id FROM t.t ORDER BY id FETCH FIRST 3 ROWS WITH TIES;
CREATE VIEW t.v22 AS SELECT id FROM t.t TABLESAMPLE bernoulli (10) REPEATABLE (3);
CREATE VIEW t.v23 AS SELECT id BETWEEN 1 AND 5 AS b, id IN (1, 2) i, id = ANY (arr) a, arr[1:2] sl,
    CASE id WHEN 1 THEN 'one' ELSE value END c, (id, n) < (3, 4.5) rc, value IS DISTINCT FROM merge_action dd,
    coalesce(value, merge_action) co, value COLLATE "C" vc, value LIKE 'b\_%' ESCAPE '\' l2, value SIMILAR TO 'd|e' s1,
    NOT (id > 3 OR id IS NULL) nn, id::bigint::text ct, -id neg, ts > now() - interval '1 day 02:00' iv, d + 3 d3,
    ARRAY[1, 2] || arr ar, ARRAY(SELECT id FROM t.u WHERE u.tid = t.id) arrs, (SELECT max(id) FROM t.u) mx,
    "json" #>> '{a,b}' ex FROM t.t;
CREATE VIEW t.v24 AS SELECT o, v FROM unnest(ARRAY['a', 'b']) WITH ORDINALITY AS x (v, o);
CREATE VIEW t.v25 AS SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS rf (a, b);
CREATE VIEW t.v26 WITH (security_barrier = true, check_option = local) AS SELECT id, value FROM t.t WHERE value <> '';
CREATE VIEW t.v27 AS SELECT id, (SELECT count(*) FROM t.t t2 WHERE t2.id < t.id) below FROM t.t;
CREATE VIEW t.v28 AS SELECT a.id FROM t.t a LEFT JOIN (t.u b CROSS JOIN t."select" s) ON a.id = b.id AND s."from" = b.tid;
CREATE VIEW t.v29 AS SELECT id AS "value", value AS id FROM t.t ORDER BY id;
CREATE VIEW t.v30 AS (SELECT id FROM t.t EXCEPT SELECT id FROM t.u) INTERSECT SELECT tid FROM t.u ORDER BY 1;
CREATE VIEW t.v31 AS SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY f) pc, string_agg(value, ',' ORDER BY id) FROM t.t;
CREATE VIEW t.v32 AS SELECT x.* FROM t.u AS x (aa, bb, cc, dd);
CREATE VIEW t.v33 AS SELECT p.a, (p.r).b FROM (SELECT a, ROW(a, b)::t.pair r FROM t.typed) p;
CREATE MATERIALIZED VIEW t.m1 AS SELECT "Mixed", count(*) FROM t.t GROUP BY 1;
CREATE MATERIALIZED VIEW t.m2 WITH (fillfactor = 70) AS SELECT id FROM t.t WITH NO DATA;

CREATE FUNCTION t.f1(a int, b text DEFAULT 'x.y', VARIADIC c int[] DEFAULT '{}') RETURNS TABLE (o1 int, o2 text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = t, pg_temp SET work_mem = '10MB' AS $$ SELECT 1, '"json"' $$;
CREATE FUNCTION t.f2(js json, INOUT "value" text) LANGUAGE plpgsql COST 50 LEAKPROOF PARALLEL RESTRICTED AS 'BEGIN END';
CREATE FUNCTION t.f3(anyelement) RETURNS anyarray LANGUAGE sql AS 'SELECT array[$1]';
CREATE FUNCTION t.moved() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE FUNCTION t.told() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE PROCEDURE t.p1(a int, INOUT b text) LANGUAGE plpgsql AS 'BEGIN END';
CREATE AGGREGATE t.pairs(t.pair) (SFUNC = array_append, STYPE = t.pair[], INITCOND = '{}');
CREATE AGGREGATE t.often(ORDER BY anyelement)
    (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = mode_final, FINALFUNC_EXTRA);
CREATE FUNCTION t.same(t.pair, t.pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1.a = $2.a';
CREATE OPERATOR t.=== (LEFTARG = t.pair, RIGHTARG = t.pair, FUNCTION = t.same, COMMUTATOR = OPERATOR(t.===), RESTRICT = eqsel);
CREATE FUNCTION t.as_text(t.pair) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.b';
CREATE CAST (t.pair AS text) WITH FUNCTION t.as_text(t.pair) AS ASSIGNMENT;
CREATE OPERATOR CLASS t.ints FOR TYPE int4 USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=,
    OPERATOR 5 >, FUNCTION 1 btint4cmp(int4, int4);

CREATE DOMAIN t.word AS text COLLATE "C" NOT NULL DEFAULT 'd' CONSTRAINT c1 CHECK (value <> '') CHECK (length(value) < 10);
CREATE DOMAIN t.words AS t.word[] CHECK (cardinality(value) < 4);
CREATE TYPE t.letter AS ENUM ('b', 'a', 'it''s');
ALTER TYPE t.letter ADD VALUE 'first' BEFORE 'b';
CREATE TYPE t.spread AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE COLLATION t.plain (provider = libc, locale = 'C');
CREATE TEXT SEARCH DICTIONARY t.dict (template = simple, stopwords = english);
CREATE TEXT SEARCH CONFIGURATION t.config (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION t.config ALTER MAPPING FOR asciiword WITH t.dict, simple;
CREATE FOREIGN DATA WRAPPER dummy OPTIONS (debug 'true');
CREATE SERVER away TYPE 'x' VERSION '1' FOREIGN DATA WRAPPER dummy OPTIONS (host 'h');
CREATE USER MAPPING FOR PUBLIC SERVER away OPTIONS (password 'hunter2');
CREATE FOREIGN TABLE t.far (a int OPTIONS (column_name 'b') NOT NULL, b text DEFAULT 'q') SERVER away OPTIONS (table_name 'x');

CREATE INDEX i1 ON t.t (lower(value) text_pattern_ops, (("json" ->> 'a')) DESC) WHERE "Mixed" IS NOT NULL AND value <> 'a.b';
CREATE INDEX i2 ON t.t USING gin (arr) WITH (fastupdate = off);
CREATE INDEX i3 ON t.t (id t.ints) INCLUDE (value);
CREATE INDEX i4 ON t.m1 ("Mixed");
ALTER TABLE t.t ADD EXCLUDE USING gist (r WITH &&) WHERE (id > 0),
    ADD CONSTRAINT checked CHECK (id > 0 AND value ~ '^\w') NOT VALID, ADD CHECK (f < 3) NO INHERIT,
    ALTER value SET STATISTICS 300, ALTER value SET STORAGE EXTERNAL, ALTER id SET (n_distinct = -0.5),
    SET (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE STATISTICS t.st (mcv) ON id, value FROM t.t;
CREATE TABLE t.gen (
    a int, b int GENERATED ALWAYS AS (a * 2) STORED, c int GENERATED ALWAYS AS IDENTITY (INCREMENT 3 CACHE 4), d serial,
    UNIQUE (a, b) INCLUDE (c) DEFERRABLE INITIALLY DEFERRED
) WITH (fillfactor = 80);

CREATE TABLE t.par (a int NOT NULL, b text, c int DEFAULT 4, PRIMARY KEY (a)) PARTITION BY RANGE (a);
CREATE TABLE t.par1 PARTITION OF t.par (c DEFAULT 5, CHECK (c > 0)) FOR VALUES FROM (MINVALUE) TO (10);
CREATE TABLE t.par2 (c int, b text, a int NOT NULL PRIMARY KEY, CHECK (a >= 10 AND a < 20));
ALTER TABLE t.par ATTACH PARTITION t.par2 FOR VALUES FROM (10) TO (20);
CREATE TABLE t.pard PARTITION OF t.par DEFAULT PARTITION BY LIST (a);
CREATE TABLE t.pard1 PARTITION OF t.pard FOR VALUES IN (50, 51);
CREATE INDEX pari ON t.par (b);
CREATE TABLE t.child (x int REFERENCES t.par ON DELETE CASCADE) PARTITION BY HASH (x);
CREATE TABLE t.child0 PARTITION OF t.child FOR VALUES WITH (MODULUS 1, REMAINDER 0);

CREATE TRIGGER t1 BEFORE INSERT ON t.par FOR EACH ROW WHEN (new.a > 3) EXECUTE FUNCTION t.moved('a', 'b''c');
ALTER TABLE t.par1 DISABLE TRIGGER t1;
CREATE TRIGGER t2 AFTER UPDATE OF a, b OR DELETE ON t.par FOR EACH ROW EXECUTE FUNCTION t.moved();
CREATE TRIGGER t3 INSTEAD OF INSERT ON t.v01 FOR EACH ROW EXECUTE FUNCTION t.moved();
CREATE CONSTRAINT TRIGGER t4 AFTER INSERT ON t.t FROM t.u DEFERRABLE FOR EACH ROW EXECUTE FUNCTION t.moved();
CREATE TRIGGER t5 AFTER TRUNCATE ON t.t EXECUTE FUNCTION t.moved();
ALTER TABLE t.t ENABLE REPLICA TRIGGER t5;
CREATE RULE r1 AS ON INSERT TO t.v02 DO INSTEAD
    INSERT INTO t.t (id, value) VALUES (new.id, new.value) RETURNING t.id, t.value;
CREATE RULE r2 AS ON DELETE TO t.u WHERE old.id > 3 DO ALSO DELETE FROM t.typed WHERE a = old.id;
ALTER TABLE t.u DISABLE RULE r2;
ALTER TABLE t.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p1 ON t.t AS RESTRICTIVE FOR UPDATE TO app, reporting
    USING (id > (SELECT count(*) FROM t.u WHERE u.tid = t.id)) WITH CHECK (value = current_user);
CREATE POLICY p2 ON t.t USING (true);
CREATE TABLE t.heir (z int DEFAULT 9) INHERITS (t.u, "We ""ird"."We ""ird");
ALTER TABLE t.u ADD CONSTRAINT inherited CHECK (tid > 0);
CREATE UNLOGGED TABLE t.unlogged (a int);
CREATE EVENT TRIGGER awkward ON ddl_command_end WHEN tag IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION t.told();
ALTER EVENT TRIGGER awkward DISABLE;
CREATE SEQUENCE t.s1 AS smallint INCREMENT -3 CYCLE;
CREATE SEQUENCE t.s2 OWNED BY t.u.tid;
ALTER TABLE t.t REPLICA IDENTITY FULL, CLUSTER ON t_pkey;
ALTER TABLE t.gen ALTER a SET NOT NULL, ALTER b SET NOT NULL;
CREATE UNIQUE INDEX gi ON t.gen (a, b);
ALTER TABLE t.gen REPLICA IDENTITY USING INDEX gi;

-- GRANT ALL means more since 17.
GRANT ALL ON t.t TO app;
GRANT SELECT, INSERT ON t.u TO app WITH GRANT OPTION;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON t.typed TO reporting;
GRANT ALL ON SCHEMA t TO reporting;
GRANT USAGE ON SCHEMA t TO PUBLIC;
REVOKE ALL ON t.gen FROM CURRENT_USER;
REVOKE EXECUTE ON FUNCTION t.f1 FROM PUBLIC;
GRANT ALL ON SEQUENCE t.s1 TO app WITH GRANT OPTION;
REVOKE USAGE ON TYPE t.word FROM PUBLIC;
GRANT SELECT (id, value), REFERENCES (id) ON t.t TO reporting;
GRANT USAGE ON FOREIGN SERVER away TO app;
ALTER DEFAULT PRIVILEGES IN SCHEMA t GRANT ALL ON TABLES TO app;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT USAGE ON SEQUENCES TO reporting WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES FOR ROLE app REVOKE ALL ON TABLES FROM app;
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET work_mem = ''5MB''', current_database());
    EXECUTE format('ALTER DATABASE %I SET shop.token = ''hunter2''', current_database());
    EXECUTE format('ALTER ROLE app IN DATABASE %I SET search_path = t, public', current_database());
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO app', current_database());
END
$$;
COMMENT ON VIEW t.v01 IS 'view';
COMMENT ON COLUMN t.t.value IS 'column';
COMMENT ON CONSTRAINT checked ON t.t IS 'constraint';
COMMENT ON CONSTRAINT c1 ON DOMAIN t.word IS 'of a domain';
COMMENT ON TRIGGER t1 ON t.par IS 'trigger';
COMMENT ON POLICY p1 ON t.t IS 'policy';
COMMENT ON FUNCTION t.f1 IS 'function';
COMMENT ON INDEX t.i1 IS 'index';
COMMENT ON OPERATOR t.=== (t.pair, t.pair) IS 'operator';
COMMENT ON RULE r1 ON t.v02 IS 'rule';
COMMENT ON CAST (t.pair AS text) IS 'cast';
