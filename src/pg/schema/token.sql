-- One number that changes when a definition changes. Sums a hash of the identity and the writing transaction (xmin) of
-- every row that defines something. (VACUUM keeps xmin: since 9.4 freezing only marks the row.)
--
-- pg_class is hashed by its meaning, since TRUNCATE, REFRESH and REINDEX write it too. Temporary objects come and go.
WITH space AS MATERIALIZED (
    SELECT n.oid, n.xmin AS x FROM pg_namespace n
     WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrun')
),
rel AS MATERIALIZED (
    SELECT c.oid,
           hashtextextended(c.relname::text, hashint8extended(c.relnamespace::int8 << 32 | c.relowner::int8, c.oid::int8))
           # hashint8extended(c.relam::int8 << 32 | c.reltablespace::int8,
                 ascii(c.relkind::text) << 24 | ascii(c.relpersistence::text) << 16 | ascii(c.relreplident::text) << 8
                 | c.relrowsecurity::int4 << 2 | c.relforcerowsecurity::int4 << 1 | c.relispartition::int4)
           # coalesce(hash_array_extended(c.relacl, 1), 0) # coalesce(hash_array_extended(c.reloptions, 2), 0) AS meaning
      FROM pg_class c JOIN space s ON s.oid = c.relnamespace WHERE c.relpersistence <> 't'
)
SELECT to_hex(hashtextextended(concat_ws(',', count(*), sum(hash)), 0)) FROM (
    SELECT meaning AS hash FROM rel
    UNION ALL
    SELECT hashint8extended(a.attrelid::int8 << 32 | a.xmin::text::int8, a.attnum)
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN space s ON s.oid = c.relnamespace
     WHERE a.attnum > 0 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND c.relpersistence <> 't'
    UNION ALL
    SELECT hashint8extended(o.oid::int8 << 32 | o.x::text::int8, 10000 + o.catalog) FROM (
        SELECT 0 AS catalog, oid, x FROM space
        UNION ALL SELECT 1, d.oid, d.xmin FROM pg_attrdef d JOIN rel r ON r.oid = d.adrelid
        UNION ALL SELECT 2, c.oid, c.xmin FROM pg_constraint c JOIN space s ON s.oid = c.connamespace
        UNION ALL SELECT 3, i.indexrelid, i.xmin FROM pg_index i JOIN rel r ON r.oid = i.indrelid
        UNION ALL SELECT 4, t.oid, t.xmin FROM pg_trigger t JOIN rel r ON r.oid = t.tgrelid
        UNION ALL SELECT 5, w.oid, w.xmin FROM pg_rewrite w JOIN rel r ON r.oid = w.ev_class
        UNION ALL SELECT 6, p.oid, p.xmin FROM pg_policy p JOIN rel r ON r.oid = p.polrelid
        UNION ALL SELECT 7, q.seqrelid, q.xmin FROM pg_sequence q JOIN rel r ON r.oid = q.seqrelid
        UNION ALL SELECT 8, h.inhrelid, h.xmin FROM pg_inherits h JOIN rel r ON r.oid = h.inhrelid
        UNION ALL SELECT 9, p.partrelid, p.xmin FROM pg_partitioned_table p JOIN rel r ON r.oid = p.partrelid
        UNION ALL SELECT 10, e.oid, e.xmin FROM pg_statistic_ext e JOIN space s ON s.oid = e.stxnamespace
        UNION ALL SELECT 11, p.oid, p.xmin FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
        UNION ALL SELECT 12, t.oid, t.xmin FROM pg_type t JOIN space s ON s.oid = t.typnamespace
        UNION ALL SELECT 13, oid, xmin FROM pg_enum
        UNION ALL SELECT 14, oid, xmin FROM pg_default_acl
        UNION ALL SELECT 15, oid, xmin FROM pg_extension
        UNION ALL SELECT 16, oid, xmin FROM pg_event_trigger
                   WHERE evtfoid NOT IN (SELECT oid FROM pg_proc WHERE pronamespace = to_regnamespace('pgrun'))
        UNION ALL SELECT 17, oid, xmin FROM pg_cast
        UNION ALL SELECT 18, oid, xmin FROM pg_operator
        UNION ALL SELECT 19, oid, xmin FROM pg_opclass
        UNION ALL SELECT 20, oid, xmin FROM pg_amop
        UNION ALL SELECT 21, oid, xmin FROM pg_amproc
        UNION ALL SELECT 22, oid, xmin FROM pg_collation
        UNION ALL SELECT 23, oid, xmin FROM pg_ts_config
        UNION ALL SELECT 24, mapcfg, xmin FROM pg_ts_config_map
        UNION ALL SELECT 25, oid, xmin FROM pg_ts_dict
        UNION ALL SELECT 26, oid, xmin FROM pg_language
        UNION ALL SELECT 27, oid, xmin FROM pg_foreign_data_wrapper
        UNION ALL SELECT 28, oid, xmin FROM pg_foreign_server
        UNION ALL SELECT 29, t.ftrelid, t.xmin FROM pg_foreign_table t
        UNION ALL SELECT 30, d.objoid, d.xmin FROM pg_description d WHERE d.objoid >= 16384 AND d.objoid NOT IN (
                      SELECT oid FROM pg_namespace WHERE nspname = 'pgrun'
                      UNION ALL SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace('pgrun')
                      UNION ALL SELECT oid FROM pg_proc WHERE pronamespace = to_regnamespace('pgrun'))
        UNION ALL SELECT 31, setrole, xmin FROM pg_db_role_setting
                   WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        UNION ALL SELECT 32, oid, xmin FROM pg_database WHERE datname = current_database()
    ) o
) hashes
