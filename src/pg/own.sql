-- pgrun's own schema in a database. Runs as often as one likes; needs CREATE on the database and nothing more.
--
-- A publication FOR ALL TABLES carries these tables too. So each has a primary key and rows are only ever inserted,
-- under names that the other side cannot have given: nothing here can stop an apply worker. What is true of one server
-- only (decisions, steps that were applied) is thrown away by a REPLICA trigger where it arrives by replication, and
-- bears the server's identity because a snapshot carries it as well.

CREATE SCHEMA IF NOT EXISTS pgrun;
COMMENT ON SCHEMA pgrun IS 'pgrun, format 1';

CREATE TABLE IF NOT EXISTS pgrun.marker (
    id uuid PRIMARY KEY,
    run text NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    lsn pg_lsn NOT NULL,
    redo pg_lsn,
    at timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS pgrun.sentinel (
    id uuid PRIMARY KEY,
    run text NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    lsn pg_lsn NOT NULL,
    xid bigint NOT NULL,
    at timestamptz NOT NULL
);

-- The tag is not unique on purpose: a write that comes twice must show as two rows.
CREATE TABLE IF NOT EXISTS pgrun.probe (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tag uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS pgrun.applied (
    target text,
    run text,
    step text,
    value jsonb,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (target, run, step)
);

-- One row opens an attempt (`fenced`), at most one closes it (`green` or `reopened`): the primary key is the
-- compare-and-swap between a decision and whoever opens the server again.
CREATE TABLE IF NOT EXISTS pgrun.decision (
    target text,
    run text,
    attempt bigint,
    closes boolean,
    state text NOT NULL CHECK (state IN ('fenced', 'green', 'reopened')),
    at timestamptz NOT NULL,
    deadline timestamptz NOT NULL,
    roles text[] NOT NULL,
    oids oid[] NOT NULL,
    exceptions text[] NOT NULL,
    CHECK (closes = (state <> 'fenced')),
    PRIMARY KEY (target, run, attempt, closes)
);

CREATE TABLE IF NOT EXISTS pgrun.forbidden (
    target text,
    run text,
    role text,
    at timestamptz NOT NULL,
    PRIMARY KEY (target, run, role)
);

-- Who changed a definition here, as the event triggers of watch.sql see it.
CREATE TABLE IF NOT EXISTS pgrun.ddl (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    target text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    command text NOT NULL,
    kind text NOT NULL,
    object text,
    login text NOT NULL,
    application text NOT NULL,
    client inet
);

CREATE OR REPLACE FUNCTION pgrun.stays_here() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN NULL;
END $$;

DO $$
DECLARE
    local text;
BEGIN
    FOREACH local IN ARRAY ARRAY['applied', 'decision', 'forbidden', 'ddl'] LOOP
        IF NOT EXISTS (SELECT FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                       WHERE t.tgname = 'stays_here' AND c.relname = local AND c.relnamespace = 'pgrun'::regnamespace) THEN
            EXECUTE format('CREATE TRIGGER stays_here BEFORE INSERT OR UPDATE OR DELETE ON pgrun.%I
                            FOR EACH ROW EXECUTE FUNCTION pgrun.stays_here()', local);
            EXECUTE format('ALTER TABLE pgrun.%I ENABLE REPLICA TRIGGER stays_here', local);
        END IF;
    END LOOP;
END $$;

-- The server's identity. pg_upgrade gives a new one; a copy at the same version keeps it.
CREATE OR REPLACE FUNCTION pgrun.target() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT c.system_identifier::text FROM pg_control_system() c);
EXCEPTION WHEN insufficient_privilege THEN
    RETURN 'unknown';
END $$;

-- The position is read before the row is written, so it lies before everything of this transaction. The lock makes
-- markers follow one another: the position of the next one lies behind the commit of this one.
CREATE OR REPLACE FUNCTION pgrun.mark(for_run text, of_kind text, OUT mark_id uuid, OUT mark_lsn pg_lsn, OUT mark_redo pg_lsn)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    LOCK TABLE pgrun.marker IN SHARE ROW EXCLUSIVE MODE;
    mark_id := gen_random_uuid();
    BEGIN
        mark_redo := (SELECT c.redo_lsn FROM pg_control_checkpoint() c);
    EXCEPTION WHEN insufficient_privilege THEN
        mark_redo := NULL;
    END;
    mark_lsn := pg_current_wal_insert_lsn();
    INSERT INTO pgrun.marker (id, run, kind, target, lsn, redo, at)
    VALUES (mark_id, for_run, of_kind, pgrun.target(), mark_lsn, mark_redo, clock_timestamp());
END $$;
