-- Who changes a definition, and when. Nothing calls this before its event triggers are made, which is done by watch.rs.
--
-- It must not harm the statement it is called for: whatever goes wrong in it is swallowed, it waits for no lock for long,
-- and its table does not grow without end. Of a statement only the command, the object and the session are kept, never
-- its text, which may hold a password. What pgrun itself does is no drift, nor are objects of one session, members of an
-- extension, and commands that define nothing.
CREATE OR REPLACE FUNCTION pgrun.note_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
BEGIN
    IF session_user = current_user AND current_setting('application_name') LIKE 'pgrun/%'
        OR tg_tag IN ('REINDEX', 'REFRESH MATERIALIZED VIEW') OR pg_relation_size('pgrun.ddl') > 64 * 1024 * 1024 THEN
        RETURN;
    END IF;
    -- A schema that is dropped or an extension that is made names thousands of objects; the first ones are enough.
    INSERT INTO pgrun.ddl (target, command, kind, object, login, application, client)
    SELECT pgrun.target(), tg_tag, d.kind, d.object, session_user, current_setting('application_name'), inet_client_addr()
      FROM (SELECT o.object_type, o.object_identity, o.schema_name
              FROM pg_event_trigger_dropped_objects() o
             WHERE tg_event = 'sql_drop' AND (o.original OR o.normal) AND NOT o.is_temporary
            UNION ALL
            SELECT c.object_type, c.object_identity, c.schema_name
              FROM pg_event_trigger_ddl_commands() c
             WHERE tg_event <> 'sql_drop' AND NOT c.in_extension) d (kind, object, schema)
     WHERE coalesce(d.schema, '') NOT IN ('pg_temp', 'pgrun') AND coalesce(d.object, '') <> 'pgrun' LIMIT 100;
EXCEPTION WHEN OTHERS THEN
    NULL;
END $$;
