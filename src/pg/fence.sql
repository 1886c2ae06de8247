-- The fence in a database of the server that is left: who may log in, and the one decision that both sides obey.
-- SQLSTATEs of class PR are pgrun's own: PR001 refused, PR002 too late, PR003 decided already.

-- The fence that stands on this server, if one does.
CREATE OR REPLACE FUNCTION pgrun.standing() RETURNS SETOF pgrun.decision
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.* FROM pgrun.decision d
    WHERE d.target = pgrun.target() AND NOT d.closes
      AND NOT EXISTS (SELECT FROM pgrun.decision c
                      WHERE c.target = d.target AND c.run = d.run AND c.attempt = d.attempt AND c.closes)
$$;

-- Login roles that neither the caller names nor the platform keeps for itself. RDS's own roles cannot be altered.
CREATE OR REPLACE FUNCTION pgrun.logins(exceptions text[]) RETURNS SETOF pg_catalog.pg_roles
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.* FROM pg_roles r
    WHERE r.rolcanlogin AND r.rolname <> ALL (exceptions)
      AND r.rolname NOT IN ('rdsadmin', 'rdsrepladmin', 'rdstopmgr', 'rdsproxyadmin', 'rdswriteforwarduser')
$$;

-- Everything that speaks against taking LOGIN from all but the exceptions.
CREATE OR REPLACE FUNCTION pgrun.refuse_fence(exceptions text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who text;
    gids text;
BEGIN
    SELECT string_agg(DISTINCT r.rolname, ', ') INTO who FROM pgrun.logins(exceptions) r
    WHERE r.rolname IN (session_user, current_user);
    IF who IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('the fence would lock out pgrun''s own login `%s`', who),
            HINT = 'name it among the exceptions';
    END IF;
    SELECT string_agg(format('`%s`', r.rolname), ', ' ORDER BY r.rolname) INTO who FROM pgrun.logins(exceptions) r WHERE r.rolsuper;
    IF who IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('superusers are not fenced: %s', who),
            HINT = 'name them among the exceptions if nobody writes by them, else take their LOGIN first';
    END IF;
    SELECT string_agg(format('`%s`', r.rolname), ', ' ORDER BY r.rolname) INTO who FROM pgrun.logins(exceptions) r WHERE r.rolname ~ '^rds';
    IF who IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('roles of RDS are not fenced: %s', who),
            HINT = 'name them among the exceptions if nobody writes by them';
    END IF;
    SELECT string_agg(DISTINCT format('`%s`', r.rolname), ', ') INTO who
    FROM pgrun.logins(exceptions) r JOIN pg_stat_replication w ON w.usesysid = r.oid;
    IF who IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('replication runs by %s', who),
            HINT = 'name the replication role among the exceptions; end consumers of other slots first';
    END IF;
    SELECT string_agg(format('`%s` in %s', p.gid, p.database), ', ' ORDER BY p.gid) INTO gids FROM pg_prepared_xacts p;
    IF gids IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('prepared transactions outlive every session: %s', gids),
            HINT = 'COMMIT PREPARED or ROLLBACK PREPARED each of them';
    END IF;
    IF NOT pg_has_role('pg_signal_backend', 'USAGE') OR NOT pg_has_role('pg_read_all_stats', 'USAGE') THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001',
            MESSAGE = format('`%s` may not see and end other sessions', current_user),
            HINT = format('GRANT pg_signal_backend, pg_read_all_stats TO %I', current_user);
    END IF;
END $$;

-- Takes LOGIN away from everybody but the exceptions, and writes down from whom, in one transaction. Called again for a
-- fence that stands it keeps what the first call wrote: by now nobody could log in. `only_look` changes nothing.
CREATE OR REPLACE FUNCTION pgrun.close(for_run text, but text[], deadline_ms bigint, only_look boolean)
RETURNS SETOF pgrun.decision LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fence pgrun.decision;
    earlier pgrun.decision;
    who record;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF NOT only_look THEN
        LOCK TABLE pgrun.decision IN SHARE ROW EXCLUSIVE MODE;
    END IF;
    SELECT * INTO fence FROM pgrun.standing();
    IF FOUND AND fence.run <> for_run THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('the run `%s` has fenced this server at %s', fence.run, fence.at),
            HINT = 'finish or undo that run, or open the server again: SELECT pgrun.reopen()';
    ELSIF FOUND AND clock_timestamp() > fence.deadline THEN
        RAISE EXCEPTION USING ERRCODE = 'PR002', MESSAGE = format('the fence was to stand until %s', fence.deadline),
            HINT = 'open the server again: SELECT pgrun.reopen()';
    ELSIF FOUND THEN
        PERFORM pgrun.refuse_fence(but || fence.roles);
        SELECT string_agg(format('`%s`', r.rolname), ', ') AS names INTO who FROM pgrun.logins(but) r WHERE r.oid <> ALL (fence.oids);
        IF who.names IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('roles that the fence does not know may log in: %s', who.names),
                HINT = 'open the server again and close it anew: SELECT pgrun.reopen()';
        END IF;
    ELSE
        SELECT * INTO earlier FROM pgrun.decision d
        WHERE d.target = pgrun.target() AND d.run = for_run ORDER BY d.attempt DESC, d.closes DESC LIMIT 1;
        IF earlier.state = 'green' THEN
            RAISE EXCEPTION USING ERRCODE = 'PR003', MESSAGE = format('the run `%s` left this server at %s', for_run, earlier.at),
                HINT = 'go on with that run; the way back is a rollback';
        END IF;
        PERFORM pgrun.refuse_fence(but);
        fence := ROW (pgrun.target(), for_run, coalesce(earlier.attempt, 0) + 1, false, 'fenced', clock_timestamp(),
            clock_timestamp() + deadline_ms * interval '1 ms',
            ARRAY(SELECT r.rolname::text FROM pgrun.logins(but) r ORDER BY r.oid),
            ARRAY(SELECT r.oid FROM pgrun.logins(but) r ORDER BY r.oid), but);
        IF fence.roles = '{}' AND EXISTS (SELECT FROM pgrun.decision d WHERE d.target = fence.target AND d.state = 'green') THEN
            RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = 'an earlier run left this server, and nobody may log in here',
                HINT = 'connect to the server that is in use now';
        END IF;
    END IF;
    IF NOT only_look THEN
        FOR who IN SELECT r.rolname FROM pg_roles r WHERE r.oid = ANY (fence.oids) AND r.rolcanlogin ORDER BY r.oid LOOP
            EXECUTE format('ALTER ROLE %I NOLOGIN', who.rolname);
        END LOOP;
        INSERT INTO pgrun.decision SELECT fence.* ON CONFLICT DO NOTHING;
    END IF;
    RETURN NEXT fence;
END $$;

-- Ends every session of these roles and waits until none is left, at most until `deadline`.
--
-- NOLOGIN is committed by now, so only backends that passed their login check before can still become sessions. Each of
-- them is in its start-up transaction and holds the lock on its own virtual transaction (postinit.c opens it before the
-- check and closes it after the backend has shown itself): it is in pg_locks at the first look, though up to 17 it is
-- not yet in pg_stat_activity, and on 18 only as `starting`. Backends seen later will be turned away by themselves.
-- pg_locks is read first: a backend that shows itself in between is then in pg_stat_activity.
CREATE OR REPLACE FUNCTION pgrun.expel(of_roles oid[], deadline timestamptz, OUT ended bigint, OUT left_over int[], OUT prepared text[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = error AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    starting int[];
    locked int[];
    sessions int[];
    told int[] := '{}';
    one int;
BEGIN
    starting := ARRAY(SELECT DISTINCT l.pid FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid());
    LOOP
        locked := ARRAY(SELECT DISTINCT l.pid FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.pid = ANY (starting));
        PERFORM pg_stat_clear_snapshot();
        starting := ARRAY(SELECT p FROM unnest(locked) p LEFT JOIN pg_stat_activity a ON a.pid = p
                          WHERE a.pid IS NULL OR a.state = 'starting');
        sessions := ARRAY(SELECT a.pid FROM pg_stat_activity a WHERE a.usesysid = ANY (of_roles) AND a.pid <> pg_backend_pid());
        left_over := sessions || starting;
        EXIT WHEN left_over = '{}';
        -- Starting takes a few milliseconds; a backend that takes longer is ended unseen.
        IF clock_timestamp() > begun + interval '20 ms' THEN
            sessions := left_over;
        END IF;
        FOREACH one IN ARRAY sessions LOOP
            CONTINUE WHEN one = ANY (told);
            BEGIN
                PERFORM pg_terminate_backend(one);
                told := told || one;
            EXCEPTION WHEN insufficient_privilege THEN
                -- A backend has its role before its login is checked (miscinit.c, InitializeSessionUserId). One that a
                -- member of pg_signal_backend may not end has none yet, and will be turned away, or is a superuser's.
                IF one <> ALL (starting) THEN
                    RAISE;
                END IF;
                starting := array_remove(starting, one);
            END;
        END LOOP;
        EXIT WHEN clock_timestamp() > deadline;
        -- Whoever started this may be dead, and somebody else may have opened the server: then these are no strays.
        IF EXISTS (SELECT FROM pg_roles r WHERE r.oid = ANY (of_roles) AND r.rolcanlogin) THEN
            RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = 'the server was opened again while its sessions were ended';
        END IF;
        PERFORM pg_sleep(0.003);
    END LOOP;
    ended := cardinality(told);
    prepared := ARRAY(SELECT format('%s in %s', p.gid, p.database) FROM pg_prepared_xacts p ORDER BY p.gid);
END $$;

-- Whoever could still commit something here: open transactions that have written, but those of autovacuum, of RDS's
-- own and of the run itself; and prepared ones. Empty if nobody.
CREATE OR REPLACE FUNCTION pgrun.writers(for_run text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_stat_clear_snapshot();
    RETURN concat_ws(', ',
        (SELECT string_agg(format('%s of `%s` (%s)', a.pid, a.usename, a.backend_type), ', ') FROM pg_stat_activity a
         WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
           AND a.backend_type NOT LIKE 'autovacuum%' AND a.usename IS DISTINCT FROM 'rdsadmin'
           AND NOT (a.usename = session_user AND a.application_name = 'pgrun/' || for_run)),
        (SELECT string_agg(format('prepared `%s`', p.gid), ', ') FROM pg_prepared_xacts p));
END $$;

-- `fenced` becomes `green`, if this run's fence stands, its time has not passed, and nothing can write.
CREATE OR REPLACE FUNCTION pgrun.decide(for_run text) RETURNS SETOF pgrun.decision
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fence pgrun.decision;
    what text;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    LOCK TABLE pgrun.decision IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO fence FROM pgrun.standing() s WHERE s.run = for_run;
    IF NOT FOUND THEN
        SELECT * INTO fence FROM pgrun.decision d
        WHERE d.target = pgrun.target() AND d.run = for_run ORDER BY d.attempt DESC, d.closes DESC LIMIT 1;
        IF fence.state IS DISTINCT FROM 'green' THEN
            RAISE EXCEPTION USING ERRCODE = 'PR001',
                MESSAGE = format('no fence of the run `%s` stands here: %s', for_run, coalesce(fence.state, 'none')),
                HINT = 'close this server first';
        END IF;
        RETURN NEXT fence;
        RETURN;
    END IF;
    IF clock_timestamp() > fence.deadline THEN
        RAISE EXCEPTION USING ERRCODE = 'PR002', MESSAGE = format('the fence was to stand until %s', fence.deadline),
            HINT = 'open the server again: SELECT pgrun.reopen()';
    END IF;
    SELECT string_agg(format('`%s`', r.rolname), ', ') INTO what FROM pgrun.logins(fence.exceptions) r;
    IF what IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('the fence has a gap, these may log in: %s', what),
            HINT = 'open the server again and close it anew: SELECT pgrun.reopen()';
    END IF;
    SELECT string_agg(format('%s of `%s`', a.pid, a.usename), ', ') INTO what FROM pg_stat_activity a WHERE a.usesysid = ANY (fence.oids);
    IF what IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('fenced sessions are left: %s', what);
    END IF;
    what := pgrun.writers(for_run);
    IF what <> '' THEN
        RAISE EXCEPTION USING ERRCODE = 'PR001', MESSAGE = format('transactions are open that may still commit here: %s', what);
    END IF;
    fence.closes := true;
    fence.state := 'green';
    fence.at := clock_timestamp();
    INSERT INTO pgrun.decision SELECT fence.*;
    RETURN NEXT fence;
END $$;

-- Gives LOGIN to these roles, and tells to whom it could not: whoever may not be altered any more must not keep the
-- others out.
CREATE OR REPLACE FUNCTION pgrun.allow(who oid[]) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one text;
    refused text[] := '{}';
BEGIN
    FOR one IN SELECT r.rolname FROM pg_roles r WHERE r.oid = ANY (who) AND NOT r.rolcanlogin ORDER BY r.oid LOOP
        BEGIN
            EXECUTE format('ALTER ROLE %I LOGIN', one);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING USING MESSAGE = format('`%s` could not be given LOGIN back: %s', one, SQLERRM);
            refused := refused || one;
        END;
    END LOOP;
    RETURN refused;
END $$;

-- `fenced` becomes `reopened`, and LOGIN goes back to exactly those who had it, in one transaction. NULL is any run.
CREATE OR REPLACE FUNCTION pgrun.reopen_run(for_run text) RETURNS SETOF pgrun.decision
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fence pgrun.decision;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    LOCK TABLE pgrun.decision IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO fence FROM pgrun.standing() s WHERE s.run = coalesce(for_run, s.run);
    IF NOT FOUND THEN
        SELECT * INTO fence FROM pgrun.decision d
        WHERE d.target = pgrun.target() AND d.run = coalesce(for_run, d.run)
        ORDER BY CASE WHEN for_run IS NULL THEN d.at END DESC, d.attempt DESC, d.closes DESC LIMIT 1;
        IF fence.state = 'green' THEN
            RAISE EXCEPTION USING ERRCODE = 'PR003', MESSAGE = format('the run `%s` left this server at %s', fence.run, fence.at),
                DETAIL = 'The other server takes writes since. Opening this one again would let both be written.',
                HINT = 'go on with that run; the way back is a rollback';
        ELSIF FOUND THEN
            RETURN NEXT fence;
        END IF;
        RETURN;
    END IF;
    -- By oid: a role may have been renamed since. One that was dropped has nothing to get back.
    PERFORM pgrun.allow(fence.oids);
    fence.closes := true;
    fence.state := 'reopened';
    fence.at := clock_timestamp();
    INSERT INTO pgrun.decision SELECT fence.*;
    RETURN NEXT fence;
END $$;

-- For a person with psql and no pgrun: SELECT pgrun.reopen(). It runs as its owner, does this one thing, and may be
-- called by nobody else unless they are granted USAGE on the schema and EXECUTE on it.
CREATE OR REPLACE FUNCTION pgrun.reopen() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    stood boolean := EXISTS (SELECT FROM pgrun.standing());
    fence pgrun.decision;
BEGIN
    SELECT * INTO fence FROM pgrun.reopen_run(NULL);
    IF stood AND fence.state = 'reopened' THEN
        RETURN format('open again: %s of %s roles may log in as before',
            (SELECT count(*) FROM pg_roles r WHERE r.oid = ANY (fence.oids) AND r.rolcanlogin), cardinality(fence.roles));
    END IF;
    RETURN 'nothing is fenced by the record in this database; it is kept in the one that the cutover was run from';
END $$;

-- The copy takes no logins until it is decided for: NOLOGIN for everybody but the exceptions, written down.
CREATE OR REPLACE FUNCTION pgrun.forbid(for_run text, but text[], OUT roles text[], OUT oids oid[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who text;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    PERFORM pgrun.refuse_fence(but);
    FOR who IN SELECT r.rolname FROM pgrun.logins(but) r ORDER BY r.oid LOOP
        EXECUTE format('ALTER ROLE %I NOLOGIN', who);
        INSERT INTO pgrun.forbidden (target, run, role, at) VALUES (pgrun.target(), for_run, who, clock_timestamp())
        ON CONFLICT DO NOTHING;
    END LOOP;
    SELECT coalesce(array_agg(f.role ORDER BY f.role), '{}') INTO roles FROM pgrun.forbidden f WHERE f.target = pgrun.target() AND f.run = for_run;
    oids := ARRAY(SELECT r.oid FROM pg_roles r WHERE r.rolname = ANY (roles) AND NOT r.rolcanlogin);
END $$;

-- LOGIN for those who could log in on the server that was left. Tells whom it does not know and may not alter.
CREATE OR REPLACE FUNCTION pgrun.admit(who text[], OUT opened text[], OUT missing text[], OUT refused text[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    refused := pgrun.allow(ARRAY(SELECT r.oid FROM pg_roles r WHERE r.rolname = ANY (who)));
    opened := ARRAY(SELECT r.rolname::text FROM pg_roles r WHERE r.rolname = ANY (who) AND r.rolcanlogin ORDER BY r.rolname);
    missing := ARRAY(SELECT w FROM unnest(who) w WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = w) ORDER BY w);
END $$;
