-- pgrun's own schema, layout 1. Run as one transaction with search_path = pg_catalog.
-- Every table is insert-only: its rows are replicated in both directions, and an update on both sides would conflict.

CREATE SCHEMA IF NOT EXISTS pgrun;
COMMENT ON SCHEMA pgrun IS 'pgrun: layout 1';

-- Positions in the log, written before, during and after a snapshot.
CREATE TABLE IF NOT EXISTS pgrun.marker (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  run text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('before', 'heartbeat', 'after')),
  target text NOT NULL,
  lsn pg_lsn NOT NULL,
  redo pg_lsn,
  at timestamptz NOT NULL DEFAULT clock_timestamp());

-- Rows whose arrival proves that replication flows.
CREATE TABLE IF NOT EXISTS pgrun.sentinel (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  run text NOT NULL,
  purpose text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp());

-- Writes of the probe that measures an outage.
CREATE TABLE IF NOT EXISTS pgrun.probe (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  run text NOT NULL,
  writer text NOT NULL,
  number int8 NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp());

-- Steps that took effect, noted in the same transaction. The target is part of the key.
CREATE TABLE IF NOT EXISTS pgrun.applied (
  run text NOT NULL,
  step text NOT NULL,
  target text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (run, step, target));

-- A fence is one row of turn 1; what became of it is one row of turn 2. The primary key makes the second turn a
-- compare-and-swap: of two that come at once, one wins and the other sees who.
CREATE TABLE IF NOT EXISTS pgrun.decision (
  attempt uuid NOT NULL,
  turn int2 NOT NULL CHECK (turn IN (1, 2)),
  state text NOT NULL CHECK (state IN ('fenced', 'green', 'reopened')),
  run text NOT NULL,
  target text NOT NULL,
  -- The cluster that decided. pg_upgrade gives GREEN another one, so a copied row is not taken for its own ..
  system text NOT NULL,
  -- .. and neither is a replicated one, where both have the same identifier.
  here bool NOT NULL DEFAULT true,
  roles text[] NOT NULL,
  spared text[] NOT NULL,
  deadline timestamptz NOT NULL,
  by text NOT NULL DEFAULT session_user,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (attempt, turn),
  CHECK ((turn = 1) = (state = 'fenced')));

CREATE OR REPLACE FUNCTION pgrun.from_elsewhere() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  NEW.here := false;
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS from_elsewhere ON pgrun.decision;
CREATE TRIGGER from_elsewhere BEFORE INSERT ON pgrun.decision FOR EACH ROW EXECUTE FUNCTION pgrun.from_elsewhere();
-- Fires in the apply worker alone.
ALTER TABLE pgrun.decision ENABLE REPLICA TRIGGER from_elsewhere;

-- This cluster's identifier, empty where it may not be read.
CREATE OR REPLACE FUNCTION pgrun.system() RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
BEGIN
  RETURN (SELECT system_identifier::text FROM pg_control_system());
EXCEPTION WHEN insufficient_privilege THEN
  RETURN '';
END $$;

-- The redo position of the newest checkpoint, NULL where it may not be read.
CREATE OR REPLACE FUNCTION pgrun.redo() RETURNS pg_lsn LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
BEGIN
  RETURN (SELECT redo_lsn FROM pg_control_checkpoint());
EXCEPTION WHEN insufficient_privilege THEN
  RETURN NULL;
END $$;

-- The newest fence of this server, or the one of an attempt; and what became of it.
CREATE OR REPLACE FUNCTION pgrun.fence(wanted uuid DEFAULT NULL)
RETURNS TABLE (attempt uuid, state text, run text, target text, roles text[], spared text[], deadline timestamptz, by text,
               at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
  SELECT f.attempt, coalesce(d.state, f.state), f.run, f.target, f.roles, f.spared, f.deadline, coalesce(d.by, f.by),
         coalesce(d.at, f.at)
  FROM pgrun.decision f
  LEFT JOIN pgrun.decision d ON d.attempt = f.attempt AND d.turn = 2 AND d.here
  WHERE f.turn = 1 AND f.here AND f.system = pgrun.system() AND (wanted IS NULL OR f.attempt = wanted)
  ORDER BY f.at DESC LIMIT 1
$$;

-- Closes this server: the decision row and NOLOGIN for every login role that is not spared, in one transaction. Who could
-- log in is recorded by the same row, so that no crash comes between. An open fence of the same run is given again.
-- SQLSTATE PGR01 is a refusal, PGR02 a condition that does not hold.
CREATE OR REPLACE FUNCTION pgrun.close(its_run text, its_target text, spare text[], ms int8, recorded text[] DEFAULT NULL)
RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  f record;
  spares text[];
  loose text[];
  named text;
  each text;
  made uuid := gen_random_uuid();
BEGIN
  PERFORM set_config('synchronous_commit', 'on', true);
  PERFORM pg_advisory_xact_lock(hashtextextended('pgrun.fence', 0));
  IF NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
    RAISE EXCEPTION '% cannot see other sessions', current_user
      USING ERRCODE = 'PGR02', HINT = 'grant pg_monitor and pg_signal_backend to it';
  END IF;
  SELECT * INTO f FROM pgrun.fence();
  IF f.state = 'fenced' THEN
    IF f.run <> its_run THEN
      RAISE EXCEPTION 'fenced by the run `%` since %', f.run, f.at
        USING ERRCODE = 'PGR01', HINT = 'finish or undo that run, or: select pgrun.reopen()';
    END IF;
    RETURN jsonb_build_object('attempt', f.attempt, 'roles', f.roles, 'spared', f.spared);
  END IF;
  SELECT string_agg('`' || s || '`', ', ') INTO named FROM unnest(spare) s WHERE s NOT IN (SELECT rolname FROM pg_roles);
  IF named IS NOT NULL THEN
    RAISE EXCEPTION 'the roles to spare do not exist: %', named USING ERRCODE = 'PGR02';
  END IF;
  SELECT string_agg('`' || gid || '`', ', ') INTO named FROM pg_prepared_xacts;
  IF named IS NOT NULL THEN
    RAISE EXCEPTION 'prepared transactions could be committed without a session: %', named
      USING ERRCODE = 'PGR02', HINT = 'COMMIT PREPARED or ROLLBACK PREPARED each of them in its database';
  END IF;
  -- The operator; and roles of RDS itself, which nobody may alter.
  SELECT array_agg(rolname::text ORDER BY rolname) INTO spares FROM pg_roles
    WHERE rolname IN (session_user, current_user) OR rolname = ANY (spare)
       OR rolname IN ('rdsadmin', 'rdsrepladmin', 'rdstopmgr', 'rdsproxyadmin');
  SELECT coalesce(array_agg(rolname::text ORDER BY rolname), '{}') INTO loose FROM pg_roles
    WHERE rolcanlogin AND rolname <> ALL (spares);
  IF recorded IS NOT NULL THEN
    SELECT string_agg('`' || r || '`', ', ') INTO named FROM (
      (SELECT r FROM unnest(loose) r EXCEPT SELECT r FROM unnest(recorded) r) UNION ALL
      (SELECT r FROM unnest(recorded) r WHERE r <> ALL (spares) EXCEPT SELECT r FROM unnest(loose) r)) d;
    IF named IS NOT NULL THEN
      RAISE EXCEPTION 'who may log in has changed since it was recorded: %', named
        USING ERRCODE = 'PGR02', HINT = 'record it again';
    END IF;
  END IF;
  SELECT string_agg('`' || rolname || '`', ', ') INTO named FROM pg_roles
    WHERE rolname = ANY (loose) AND rolsuper AND current_setting('is_superuser') <> 'on';
  IF named IS NOT NULL THEN
    RAISE EXCEPTION 'superusers cannot be fenced by %: %', current_user, named
      USING ERRCODE = 'PGR02', HINT = 'spare them if no application uses them, or connect as a superuser';
  END IF;
  INSERT INTO pgrun.decision (attempt, turn, state, run, target, system, roles, spared, deadline)
    VALUES (made, 1, 'fenced', its_run, its_target, pgrun.system(), loose, spares,
            clock_timestamp() + ms * interval '1 millisecond');
  FOREACH each IN ARRAY loose LOOP
    EXECUTE format('ALTER ROLE %I NOLOGIN', each);
  END LOOP;
  RETURN jsonb_build_object('attempt', made, 'roles', loose, 'spared', spares);
END $$;

-- The way back. Works from psql without pgrun: select pgrun.reopen();
-- Opens every role that it can: one that cannot be opened must not keep the others shut.
CREATE OR REPLACE FUNCTION pgrun.reopen(wanted uuid DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  f record;
  settled text;
  role text;
  shut text[] := '{}';
BEGIN
  PERFORM set_config('synchronous_commit', 'on', true);
  SELECT * INTO f FROM pgrun.fence(wanted);
  IF NOT FOUND THEN
    RETURN 'nothing was fenced here';
  END IF;
  INSERT INTO pgrun.decision (attempt, turn, state, run, target, system, roles, spared, deadline)
    VALUES (f.attempt, 2, 'reopened', f.run, f.target, pgrun.system(), f.roles, f.spared, f.deadline)
    ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    SELECT d.state INTO settled FROM pgrun.decision d WHERE d.attempt = f.attempt AND d.turn = 2;
    IF settled = 'green' THEN
      RAISE EXCEPTION 'the other server was decided for at %', f.at
        USING ERRCODE = 'PGR01', HINT = 'opening this one too would split the data; go back by a rollback';
    END IF;
    RETURN 'was reopened before';
  END IF;
  FOREACH role IN ARRAY f.roles LOOP
    BEGIN
      EXECUTE format('ALTER ROLE %I LOGIN', role);
    EXCEPTION WHEN OTHERS THEN
      shut := shut || role;
      RAISE WARNING 'role % stays NOLOGIN: %', role, SQLERRM;
    END;
  END LOOP;
  IF cardinality(shut) > 0 THEN
    RETURN 'reopened, but these roles stay shut: ' || array_to_string(shut, ', ');
  END IF;
  RETURN 'reopened';
END $$;

-- The point of no return: fenced -> green. Refused past the deadline, and when somebody opened this server meanwhile.
CREATE OR REPLACE FUNCTION pgrun.decide(wanted uuid) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  f record;
  settled text;
  loose text;
BEGIN
  PERFORM set_config('synchronous_commit', 'on', true);
  SELECT * INTO f FROM pgrun.fence(wanted);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no fence % here', wanted USING ERRCODE = 'PGR01';
  END IF;
  IF f.state = 'green' THEN
    RETURN 'green';
  END IF;
  SELECT string_agg(r.rolname, ', ') INTO loose FROM pg_roles r
    WHERE r.rolcanlogin AND r.rolname <> ALL (f.spared);
  IF f.state = 'fenced' AND loose IS NOT NULL THEN
    RAISE EXCEPTION 'the fence has a hole: % may log in', loose USING ERRCODE = 'PGR01';
  END IF;
  IF f.state = 'fenced' AND clock_timestamp() >= f.deadline THEN
    RAISE EXCEPTION 'the deadline % has passed', f.deadline USING ERRCODE = 'PGR01';
  END IF;
  INSERT INTO pgrun.decision (attempt, turn, state, run, target, system, roles, spared, deadline)
    VALUES (f.attempt, 2, 'green', f.run, f.target, pgrun.system(), f.roles, f.spared, f.deadline)
    ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    SELECT d.state INTO settled FROM pgrun.decision d WHERE d.attempt = f.attempt AND d.turn = 2;
    IF settled <> 'green' THEN
      RAISE EXCEPTION 'this server was % before', settled USING ERRCODE = 'PGR01';
    END IF;
  END IF;
  RETURN 'green';
END $$;
