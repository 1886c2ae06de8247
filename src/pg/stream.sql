-- The window's work on the two sides of a stream. What waits does so here, on the server: in the window each question
-- from outside costs as much as the waiting. All of it ends by itself after `within_ms`, and may be asked again.

-- What went wrong on a subscription so far, errors and conflicts together. 15 brought counters of errors, 18 those of
-- conflicts; NULL before.
CREATE OR REPLACE FUNCTION pgrun.errors(of_subscription oid) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counted bigint;
BEGIN
    IF current_setting('server_version_num')::int >= 150000 THEN
        EXECUTE 'SELECT sum(v.value::int8)::int8 FROM pg_stat_subscription_stats t, jsonb_each_text(to_jsonb(t)) v
                  WHERE t.subid = $1 AND (v.key LIKE ''%\_error\_count'' OR v.key LIKE ''confl\_%'')'
           INTO counted USING of_subscription;
    END IF;
    RETURN counted;
END $$;

-- The row behind the fence, and T behind the row: the commit that follows is what has to arrive. A position right behind
-- the head of a WAL page would never be reported by an idle server.
--
-- In this order, each statement with a snapshot of its own: a transaction that is not in the future of `since` is over
-- when T is read, or seen by `writers`.
CREATE OR REPLACE FUNCTION pgrun.seal(for_run text, of_id uuid, OUT xid bigint, OUT since bigint, OUT writers text, OUT target pg_lsn)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    xid := pg_current_xact_id()::text::bigint;
    INSERT INTO pgrun.sentinel (id, run, kind, target, lsn, xid, at)
    VALUES (of_id, for_run, 'sentinel', pgrun.target(), pg_current_wal_insert_lsn(), seal.xid, clock_timestamp());
    since := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
    writers := pgrun.writers(for_run);
    target := pg_current_wal_insert_lsn();
END $$;

-- Whether a row has arrived by a subscription, and up to which position of the other server everything was applied and is
-- on disk here: reading it writes to disk what is not there yet. So nobody waits until the worker reports.
CREATE OR REPLACE FUNCTION pgrun.arrival(of_id uuid, of_subscription oid, within_ms bigint,
    OUT arrived boolean, OUT applied pg_lsn, OUT workers bigint, OUT errors bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    until timestamptz := clock_timestamp() + within_ms * interval '1 ms';
BEGIN
    LOOP
        arrived := EXISTS (SELECT FROM pgrun.sentinel s WHERE s.id = of_id);
        EXIT WHEN arrived OR clock_timestamp() >= until;
        PERFORM pg_sleep(0.002);
    END LOOP;
    IF arrived THEN
        applied := pg_replication_origin_progress('pg_' || of_subscription, true);
    END IF;
    workers := (SELECT count(w.pid) FROM pg_stat_subscription w WHERE w.subid = of_subscription);
    errors := pgrun.errors(of_subscription);
END $$;

-- The workers of a subscription, and those of an earlier look that still live: they leave pg_stat_subscription before they
-- have told their last numbers.
CREATE OR REPLACE FUNCTION pgrun.alive(of_subscription oid, seen int[]) RETURNS int[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_stat_clear_snapshot();
    RETURN ARRAY(SELECT w.pid FROM pg_stat_subscription w WHERE w.subid = of_subscription AND w.pid IS NOT NULL
                 UNION SELECT a.pid FROM pg_stat_activity a
                 WHERE a.pid = ANY (seen) AND a.backend_type LIKE 'logical replication%');
END $$;

-- Ends the reading of a subscription for good: DISABLE alone returns while workers still commit. `alive` are its workers,
-- those of an earlier call among them, and are waited for. Without any, `at_rest` is where this server stands, and a row
-- is written behind it: its commit makes everything before it durable, the end of the reading too.
--
-- A procedure that commits cannot set its search_path; sessions of pgrun have it on pg_catalog.
CREATE OR REPLACE PROCEDURE pgrun.stop(for_run text, of_subscription oid, within_ms bigint,
    INOUT alive int[], INOUT errors bigint, INOUT at_rest pg_lsn, INOUT id text)
LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + within_ms * interval '1 ms';
    name text;
    reads boolean;
BEGIN
    SELECT s.subname, s.subenabled INTO name, reads FROM pg_subscription s WHERE s.oid = of_subscription;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('the subscription with the oid %s is gone', of_subscription);
    END IF;
    IF reads THEN
        PERFORM set_config('synchronous_commit', 'off', true);
        alive := pgrun.alive(of_subscription, alive);
        EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', name);
        COMMIT;
    END IF;
    LOOP
        alive := pgrun.alive(of_subscription, alive);
        EXIT WHEN alive = '{}' OR clock_timestamp() >= until;
        PERFORM pg_sleep(0.002);
    END LOOP;
    IF alive = '{}' THEN
        errors := pgrun.errors(of_subscription);
        at_rest := pg_current_wal_insert_lsn();
        id := gen_random_uuid();
        INSERT INTO pgrun.sentinel (id, run, kind, target, lsn, xid, at)
        VALUES (id::uuid, for_run, 'sentinel', pgrun.target(), pg_current_wal_insert_lsn(),
                pg_current_xact_id()::text::bigint, clock_timestamp());
    END IF;
END $$;

-- Whether somebody still reads from a slot of this database; NULL without such a slot. If nobody does, `next` is the next
-- transaction, by a younger snapshot: what a reader was given had begun before. Then the origin of the way back is set,
-- and where it stands is read back. The way back is a subscription here, and at rest; its origin's name is `pg_<oid>`
-- (ReplicationOriginNameForLogicalRep).
CREATE OR REPLACE FUNCTION pgrun.released(for_run text, of_slot name, of_way_back name, at_rest pg_lsn, within_ms bigint,
    OUT active boolean, OUT next bigint, OUT origin pg_lsn)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    until timestamptz := clock_timestamp() + within_ms * interval '1 ms';
    way_back pg_subscription.oid%TYPE;
    runs boolean;
BEGIN
    SELECT s.oid, s.subenabled OR EXISTS (SELECT FROM pg_stat_subscription w WHERE w.subid = s.oid AND w.pid IS NOT NULL)
      INTO way_back, runs FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database()
     WHERE s.subname = of_way_back;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('there is no subscription `%s` in this database', of_way_back);
    ELSIF EXISTS (SELECT FROM pgrun.decision p WHERE p.target = pgrun.target() AND p.run = for_run AND p.state = 'green') THEN
        RAISE EXCEPTION USING ERRCODE = 'PR003',
            MESSAGE = format('the run `%s` has left this server: its applications write to the other one', for_run),
            HINT = 'go on: enable the way back';
    ELSIF runs THEN
        RAISE EXCEPTION USING ERRCODE = 'PR003', MESSAGE = format('the subscription `%s` runs already', of_way_back),
            HINT = 'disable it first';
    END IF;
    LOOP
        active := (SELECT s.active FROM pg_replication_slots s
                   WHERE s.slot_name = of_slot AND s.slot_type = 'logical' AND s.database = current_database());
        EXIT WHEN active IS DISTINCT FROM true OR clock_timestamp() >= until;
        PERFORM pg_sleep(0.002);
    END LOOP;
    IF NOT active THEN
        next := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
        PERFORM pg_replication_origin_advance('pg_' || way_back, at_rest);
        origin := pg_replication_origin_progress('pg_' || way_back, false);
    END IF;
END $$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA pgrun FROM PUBLIC;
